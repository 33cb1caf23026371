"""The flags of the command line, one for each field of `ServerConfig`."""

from __future__ import annotations

import argparse
from dataclasses import Field, fields
from typing import Any, Callable, Dict, NoReturn

from .. import __name__ as PACKAGE
from .. import __version__
from ..config import ServerConfig

__all__ = ["build_parser"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; of the flags, it returns those that were given."""
    parser = _Parser(
        prog=f"python3 -m {PACKAGE}",
        # An abbreviation could become ambiguous with a new flag.
        allow_abbrev=False,
        usage="""%(prog)s [module:app] [flags]
       %(prog)s vendor DEST [--only protocols]
       %(prog)s selftest""",
        description="An ASGI server for WebSockets, in pure Python. As the first word, 'vendor' copies this"
        " package into yours, and 'selftest' tests the copy; an application has a colon in its name.",
        epilog="Sizes are in bytes, times in seconds; 'none' switches off an optional limit.",
    )
    parser.add_argument(
        "app", nargs="?", default=None, metavar="module:app", help="ASGI application; default: the demo"
    )
    parser.add_argument("--version", action="version", version=f"{PACKAGE} {__version__}")
    for item in fields(ServerConfig):
        _add_flag(parser, item)
    return parser


def build_flag(item: Field[Any]) -> str:
    """The flag of a field: ``--ws-max-size``."""
    return "--" + (item.metadata["flag"] or item.name).replace("_", "-")


def _add_flag(parser: argparse.ArgumentParser, item: Field[Any]) -> None:
    # A flag that is not given sets no value: the defaults are those of `ServerConfig`.
    options: Dict[str, Any] = {"default": argparse.SUPPRESS}
    if type(item.default) is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options.update(type=_value_parser(item), metavar=_METAVARS[_kind(item)], dest=item.name)
        if _kind(item) == _HEADERS:
            options["action"] = "append"
    # Set afterwards: before Python 3.13 BooleanOptionalAction adds the default to the help that it is given.
    text = f"{item.metadata['help']} (default: {_format(item)})"
    parser.add_argument(build_flag(item), **options).help = text.replace("%", "%%")


def _format(item: Field[Any]) -> str:
    """The default as one writes it on the command line."""
    if item.default in (None, "", ()):
        return "none"
    if isinstance(item.default, tuple):
        return ",".join(item.default)
    return format(item.default, "o") if item.metadata["base"] == 8 else str(item.default)


def _kind(item: Field[Any]) -> str:
    return str(item.type).replace("Optional[", "").rstrip("]")


_LIST, _HEADERS = "Tuple[str, ...", "Sequence[Tuple[str, str"
_METAVARS = {"int": "N", "float": "SECONDS", "str": "TEXT", _LIST: "TEXT,...", _HEADERS: "NAME:VALUE"}


def _value_parser(item: Field[Any]) -> Callable[[str], Any]:
    """A function from text to value; `ServerConfig` checks the value."""
    is_optional = str(item.type).startswith("Optional[")
    base = item.metadata["base"]
    convert = _CONVERTERS[_kind(item)]

    def parse(text: str) -> Any:
        if is_optional and text.lower() == "none":
            return None
        return convert(text) if base == 10 else int(text, base)

    # argparse names the type in its error: "invalid int value: 'x'".
    parse.__name__ = convert.__name__ if base == 10 else "octal"
    return parse


def _split_texts(text: str) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split_header(text: str) -> Any:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME:VALUE")
    return name.strip(), value.strip()


_CONVERTERS: Dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    _LIST: _split_texts,
    _HEADERS: _split_header,
}
