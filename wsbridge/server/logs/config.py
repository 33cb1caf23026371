"""``log_config``: a file that sets logging up, as `logging.config` reads it."""

from __future__ import annotations

import importlib
import json
import logging.config
import os
from configparser import ConfigParser
from typing import Any, Callable, Dict

from ...protocols.errors import ConfigError

__all__ = ["apply_log_config"]


def apply_log_config(path: str) -> None:
    """Set logging up from a file: ``.json``, ``.yaml`` and ``.yml`` for `dictConfig`, any other `fileConfig`.

    Loggers that the file does not name stay enabled, unless it says
    otherwise. Raises `ConfigError` with what is wrong, in one line.
    """
    _, ending = os.path.splitext(path)
    try:
        read = _READERS.get(ending.lower(), _apply_ini)
        read(path)
    except ConfigError as error:
        raise ConfigError(f"log_config={path!r}: {error}") from error
    except Exception as error:
        # What a file may raise is without limit: it names classes, and has calls in it.
        raise ConfigError(f"log_config={path!r}: {_describe(error)}") from error


def _apply_ini(path: str) -> None:
    parser = ConfigParser()
    with open(path, encoding="utf-8") as file:
        parser.read_file(file)
    logging.config.fileConfig(parser, disable_existing_loggers=False)


def _apply_json(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        _apply_dict(json.load(file))


def _apply_yaml(path: str) -> None:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        raise ConfigError("PyYAML is not installed, which reads YAML; write the file as JSON") from None
    with open(path, encoding="utf-8") as file:
        _apply_dict(yaml.safe_load(file))


def _apply_dict(values: Any) -> None:
    if not isinstance(values, dict):
        raise ConfigError("the file must hold an object, with a field 'version'")
    # By default `dictConfig` silences every logger that exists and is not named, ours among them.
    logging.config.dictConfig({"disable_existing_loggers": False, **values})


_READERS: Dict[str, Callable[[str], None]] = {
    ".json": _apply_json,
    ".yaml": _apply_yaml,
    ".yml": _apply_yaml,
}


def _describe(error: BaseException) -> str:
    """The error in one line, with its cause: `dictConfig` says which part is wrong, and the cause why."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        text += " is missing"
    cause = "" if error.__cause__ is None else _describe(error.__cause__)
    return text if cause in text else f"{text}: {cause}"
