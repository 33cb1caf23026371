"""The tests of wsbridge: standard library only, run with ``python3 -m unittest``.

A copy that is vendored under another name is tested by these same files: with
``WSBRIDGE_PACKAGE=myapp._vendor.ws`` in the environment every import of
``wsbridge`` or ``wsbridge.x.y`` yields the modules of that package, which must
be on `sys.path`. `unittest` puts its top directory there; for a copy elsewhere::

    WSBRIDGE_PACKAGE=myapp._vendor.ws python3 -I -S -OO -c "
    import sys, unittest
    sys.path.insert(0, 'where myapp is')
    unittest.main(None, argv=['', 'discover', '-s', 'tests', '-t', '.'])"
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional

#: The name of the package under test.
PACKAGE = os.environ.get("WSBRIDGE_PACKAGE", "wsbridge")


class Alias(Loader):
    """Yields a module that has another name: the same object, imported when first asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just set the alias's own; relative imports need the module's.
        module.__spec__ = self.spec


class AliasFinder(MetaPathFinder):
    """Finds ``wsbridge`` and everything below it in the package under test."""

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        head, dot, rest = name.partition(".")
        return ModuleSpec(name, Alias(PACKAGE + dot + rest)) if head == "wsbridge" else None


if PACKAGE != "wsbridge":
    sys.meta_path.insert(0, AliasFinder())
