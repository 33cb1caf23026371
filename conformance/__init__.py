"""Checks of wsbridge that need somebody else's software; `python3 conformance/run.py` lists them."""
