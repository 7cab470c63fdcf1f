"""Moved: python -m study.alignment"""

raise SystemExit("error: python -m train.framing has moved: python -m study.alignment")
