"""The command line: ``python3 -m wsbridge [module:app] [flags]``, flags made from `ServerConfig`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import Field, fields
from typing import Any, Callable, Dict, List, NoReturn, Optional

from .. import __version__
from ..config import ServerConfig
from ..protocols.errors import ConfigError, LifespanFailed
from .loading import load_application
from .server import run
from .service import logger, set_up_logging

__all__ = ["main"]

PACKAGE = __package__.rpartition(".")[0]


def main(arguments: Optional[List[str]] = None) -> int:
    """Serve until a signal; the exit code is 0, 1 where the server could not run, 2 for wrong arguments."""
    parser = _build_parser()
    values = vars(parser.parse_args(arguments))
    target = values.pop("app")
    try:
        if target is None:
            # No page from elsewhere shall join the room in its visitor's name.
            target = f"{PACKAGE}.demo.app:app"
            values.setdefault("allowed_origins", ("same-origin",))
        config = ServerConfig(**values)
        set_up_logging(config.log_level)
        run(load_application(target), config)
    except ConfigError as error:
        return _report(parser, error, 2)
    except (LifespanFailed, OSError) as error:
        return _report(parser, error, 1)
    except KeyboardInterrupt:
        # Only before the server listens: from then on SIGINT is a clean stop.
        return 130
    return 0


def _report(parser: argparse.ArgumentParser, error: Exception, exit_code: int) -> int:
    logger.debug("the error in full", exc_info=True)
    print(f"{parser.prog}: error: {error}", file=sys.stderr)
    return exit_code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python3 -m {PACKAGE}",
        usage="%(prog)s [module:app] [flags]",
        description="An ASGI server for WebSockets, in pure Python.",
        epilog="Sizes are bytes, times seconds; 'none' where a limit may be switched off.",
    )
    parser.add_argument(
        "app", nargs="?", default=None, metavar="module:app", help="ASGI application; default: the demo"
    )
    parser.add_argument("--version", action="version", version=f"{PACKAGE} {__version__}")
    for item in fields(ServerConfig):
        _add_flag(parser, item)
    return parser


def _add_flag(parser: argparse.ArgumentParser, item: Field[Any]) -> None:
    flag = "--" + item.name.replace("_", "-")
    # A flag that is not given leaves no value: the defaults are those of `ServerConfig`.
    options: Dict[str, Any] = {"default": argparse.SUPPRESS}
    if type(item.default) is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options.update(type=_value_parser(item), metavar=_METAVARS[_kind(item)])
    # Before Python 3.13 BooleanOptionalAction adds a default of its own to the help it is made with.
    text = f"{item.metadata['help']} (default: {item.default})"
    parser.add_argument(flag, **options).help = text.replace("%", "%%")


def _kind(item: Field[Any]) -> str:
    return str(item.type).replace("Optional[", "").rstrip("]")


_METAVARS = {"int": "N", "float": "SECONDS", "str": "TEXT", "Tuple[str, ...": "TEXT,..."}


def _value_parser(item: Field[Any]) -> Callable[[str], Any]:
    """Text to value; whether the value is allowed is for `ServerConfig` to say."""
    is_optional = str(item.type).startswith("Optional[")
    convert: Callable[[str], Any] = {"int": int, "float": float, "str": str}.get(_kind(item), _split_texts)

    def parse(text: str) -> Any:
        return None if is_optional and text.lower() == "none" else convert(text)

    # argparse names the type in its error: "invalid int value: 'x'".
    parse.__name__ = getattr(convert, "__name__", "text")
    return parse


def _split_texts(text: str) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip())
