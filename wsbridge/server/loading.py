"""`load_application`: import the application that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any, Optional

from ..asgi.lifespan import describe_error
from ..asgi.types import Application
from ..protocols.errors import ConfigError

__all__ = ["LoadingFailed", "call_factory", "check_takes_events", "load_application"]

# The arguments of an ASGI 3 application.
EVENTS = ("scope", "receive", "send")

# The arguments of others, what these are, and what makes ASGI 3 of them.
OTHER_INTERFACES = (
    (("scope",), "an ASGI 2 application", "asgiref.compatibility.guarantee_single_callable"),
    (("environ", "start_response"), "a WSGI application", "asgiref.wsgi.WsgiToAsgi"),
)


class LoadingFailed(ConfigError):
    """An application cannot be loaded; if its own code raised, that error is the cause."""


def load_application(target: str, app_dir: str = "", *, factory: bool = False) -> Application:
    """Import ``"module:attribute"``, with ``app_dir`` on the path, by default the working directory.

    With ``factory`` the attribute is called, and returns the application.
    Raises `LoadingFailed`; if the module or the factory raised, that error is
    its cause.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise LoadingFailed(f"{target!r} is not of the form module:attribute, such as myapp.asgi:app")
    _add_to_path(app_dir)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        name = _get_module_name(module_name)
        hint = f"; write {name}:{attribute}" if name and name != module_name else ""
        raise LoadingFailed(f"cannot import {module_name!r}: {describe_error(error)}{hint}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise LoadingFailed(f"{module_name!r} has no attribute {attribute!r}")
        found = getattr(found, name)
    if not callable(found):
        raise LoadingFailed(f"{target!r} is no ASGI application: {type(found).__name__} cannot be called")
    application: Application = found
    if factory:
        return call_factory(application, repr(target))
    check_takes_events(application, repr(target))
    return application


def _add_to_path(app_dir: str) -> None:
    # As ``python -m`` does, which a console script and an embedding program do not.
    folder = os.path.abspath(app_dir)
    if not os.path.exists(folder):
        raise LoadingFailed(f"app_dir={app_dir!r}: there is no such folder")
    if folder not in sys.path:
        sys.path.insert(0, folder)


def call_factory(factory: Any, name: str) -> Application:
    """What ``factory`` returns, an application; raises `LoadingFailed`, with the factory's error as cause."""
    try:
        made = factory()
    except Exception as error:
        raise LoadingFailed(f"factory {name} raised {describe_error(error)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise LoadingFailed(f"factory {name} is a coroutine function: it must be a plain one, which returns")
    if not callable(made) or _takes_nothing(made):
        raise LoadingFailed(f"factory {name} returned no ASGI application: {type(made).__name__}")
    check_takes_events(made, f"what factory {name} returned")
    application: Application = made
    return application


def check_takes_events(app: Application, name: str) -> None:
    """Raise `LoadingFailed` if ``app`` is a factory, or an application of another interface than ASGI 3."""
    if _takes_nothing(app):
        raise LoadingFailed(
            f"{name} takes no arguments, as a factory of applications: set factory (--factory)"
        )
    signature = _find_signature(app)
    if signature is None or _binds(signature, *EVENTS):
        return
    for arguments, kind, wrapper in OTHER_INTERFACES:
        if _binds(signature, *arguments):
            raise LoadingFailed(
                f"{name} takes {len(arguments)} of 3 arguments, as {kind}: {wrapper} wraps it"
            )


def _takes_nothing(app: Application) -> bool:
    signature = _find_signature(app)
    return signature is not None and _binds(signature) and not _binds(signature, *EVENTS)


def _find_signature(app: Application) -> Optional[inspect.Signature]:
    try:
        return inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        # Some callables written in C have none.
        return None


def _binds(signature: inspect.Signature, *arguments: str) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _get_module_name(path: str) -> str:
    """The module that a path below the working directory stands for; "" if there is none."""
    names = os.path.normpath(path[:-3] if path.endswith(".py") else path).split(os.sep)
    return ".".join(names) if all(name.strip(".") for name in names) else ""
