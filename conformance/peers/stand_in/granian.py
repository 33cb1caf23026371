"""Stands for granian where its own tests import it: `Granian` starts the server that `PEERS_SERVER` names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from conformance.peers.serving import serve

# Options by granian's names, and by those that wsbridge and uvicorn have.
NAMES = {
    "port": "port",
    "ssl_cert": "ssl_certfile",
    "ssl_key": "ssl_keyfile",
    "ssl_key_password": "ssl_keyfile_password",
}


class Granian:
    def __init__(self, target: str, **options: Any) -> None:
        self._target = target
        self._options = {
            NAMES[name]: str(value) if isinstance(value, Path) else value
            for name, value in options.items()
            if name in NAMES
        }

    def serve(self) -> None:
        module, _, attribute = self._target.partition(":")
        serve(getattr(importlib.import_module(module), attribute), **self._options)
