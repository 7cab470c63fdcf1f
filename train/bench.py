"""Moved: python -m study.bench"""

raise SystemExit("error: python -m train.bench has moved: python -m study.bench")
