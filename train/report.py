"""Moved: python -m study.report"""

raise SystemExit("error: python -m train.report has moved: python -m study.report")
