"""`load_application`: import the application that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from ..asgi.lifespan import describe_error
from ..asgi.types import Application
from ..protocols.errors import ConfigError

__all__ = ["load_application"]


def load_application(target: str) -> Application:
    """Import ``"module:attribute"``, with the working directory on the path, as ``python -m`` does.

    Raises `ConfigError`; if the module raised, that error is its cause.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"{target!r} is not of the form module:attribute, such as myapp.asgi:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        name = _get_module_name(module_name)
        hint = f"; write {name}:{attribute}" if name and name != module_name else ""
        raise ConfigError(f"cannot import {module_name!r}: {describe_error(error)}{hint}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"{module_name!r} has no attribute {attribute!r}")
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f"{target!r} is no ASGI application: {type(found).__name__} cannot be called")
    application: Application = found
    return application


def _get_module_name(path: str) -> str:
    """The module that a path below the working directory stands for; "" if there is none."""
    names = os.path.normpath(path[:-3] if path.endswith(".py") else path).split(os.sep)
    return ".".join(names) if all(name.strip(".") for name in names) else ""
