"""The environment of the command line: ``WSBRIDGE_PORT=9000`` is ``--port 9000``.

A copy of the package under another name has the same variables.
"""

from __future__ import annotations

from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from ...config import ServerConfig
from ...protocols.errors import ConfigError
from .flags import build_flag, parse_text

__all__ = ["Environment", "read_environment"]

PREFIX = "WSBRIDGE_"

# Read elsewhere: by `Service`, and by the tests of a copy.
OTHERS = ("WSBRIDGE_MASKING", "WSBRIDGE_PACKAGE")

# uvicorn's names besides UVICORN_*.
UVICORN_NAMES = {"forwarded_allow_ips": "FORWARDED_ALLOW_IPS", "workers": "WEB_CONCURRENCY"}


class Environment(NamedTuple):
    """``values`` by field, and ``app``; ``variables`` names the source of each; ``unknown``: lines to log."""

    values: Dict[str, Any]
    variables: Dict[str, str]
    unknown: List[str]


def read_environment(environ: Mapping[str, str]) -> Environment:
    """What the variables of ``environ`` set; an empty variable sets nothing.

    Raises `ConfigError` for one that has no value of its field.
    """
    values: Dict[str, Any] = {}
    variables: Dict[str, str] = {}
    names = {
        "app": (f"{PREFIX}APP", "UVICORN_APP"),
        **{item.name: _list_names(item) for item in fields(ServerConfig)},
    }
    for field, candidates in names.items():
        for name in candidates:
            if environ.get(name):
                variables[field] = name
                break
    for item in fields(ServerConfig):
        if item.name in variables:
            values[item.name] = _parse(item, variables[item.name], environ)
    if "app" in variables:
        values["app"] = environ[variables["app"]]
    known = [candidates[0] for candidates in names.values()]
    unknown = [name for name in environ if name.startswith(PREFIX) and name not in (*known, *OTHERS)]
    return Environment(values, variables, [_describe_unknown(name, known) for name in unknown])


def _list_names(item: Field[Any]) -> Tuple[str, ...]:
    """The variables that set a field; the first that is set counts."""
    name = build_flag(item)[2:].replace("-", "_").upper()
    if item.name == "headers":
        # uvicorn separates several by blanks, which most values have in them.
        return (PREFIX + name,)
    names = (PREFIX + name, f"UVICORN_{name}")
    return (*names, UVICORN_NAMES[item.name]) if item.name in UVICORN_NAMES else names


def _parse(item: Field[Any], name: str, environ: Mapping[str, str]) -> Any:
    text = environ[name]
    try:
        return parse_text(item, text)
    except ValueError as error:
        # https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
        is_link = text.startswith("tcp://")
        hint = (
            "; Kubernetes sets it for a service of that name, unless enableServiceLinks is false"
            if is_link
            else ""
        )
        raise ConfigError(f"{name}={text!r:.80}: {error}{hint}") from None


def _describe_unknown(name: str, known: List[str]) -> str:
    # Without the prefix, which all of them share.
    others = [other[len(PREFIX) :] for other in known]
    near = "".join(
        f": did you mean {PREFIX}{other}?" for other in get_close_matches(name[len(PREFIX) :], others, 1)
    )
    return f"{name} is set in the environment, but there is no such option{near}"
