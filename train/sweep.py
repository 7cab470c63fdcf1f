"""Moved: python -m study.sweep"""

raise SystemExit("error: python -m train.sweep has moved: python -m study.sweep")
