"""Stands for granian where its own tests import it: `Granian` starts the server that `PEERS_SERVER` names."""

from __future__ import annotations

import importlib
from typing import Any

from conformance.peers.serving import serve


class Granian:
    def __init__(self, target: str, port: int, **_: Any) -> None:
        self._target = target
        self._port = port

    def serve(self) -> None:
        module, _, attribute = self._target.partition(":")
        serve(getattr(importlib.import_module(module), attribute), self._port)
