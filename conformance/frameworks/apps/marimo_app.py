"""A marimo notebook, run as an application."""

from __future__ import annotations

from pathlib import Path

import marimo

from . import seen  # noqa: F401 (tells what is logged)

NOTEBOOK = Path(__file__).with_name("notebook.py")

app = marimo.create_asgi_app(quiet=True).with_app(path="", root=str(NOTEBOOK)).build()
