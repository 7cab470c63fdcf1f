"""Moved: python -m study.evaluate"""

raise SystemExit("error: python -m train.evaluate has moved: python -m study.evaluate")
