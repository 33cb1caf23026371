"""The flags of the command line, one for each field of `ServerConfig`, and what is said about others."""

from __future__ import annotations

import argparse
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any, Callable, Dict, List, NoReturn, Optional

from ... import __name__ as PACKAGE
from ... import __version__
from ...config import ServerConfig
from ..logs.output import print_error

__all__ = ["Parser", "build_flag", "build_parser", "parse_text"]

# The fields with which the sections of config.py begin, and the titles of these.
SECTIONS = {
    "host": "Listening",
    "factory": "The application",
    "workers": "Processes",
    "ws_max_size": "WebSocket messages",
    "ws_per_message_deflate": "Compression",
    "timeout_handshake": "Deadlines",
    "limit_concurrency": "Limits",
    "log_level": "Logging",
    "health_path": "Health and metrics",
}

# These stand in front of the sections.
MOST_USED = (
    "host",
    "port",
    "uds",
    "workers",
    "reload",
    "factory",
    "allowed_origins",
    "forwarded_allow_ips",
    "root_path",
    "log_level",
)

_NOTHING_TO_CHOOSE = "there is nothing to choose: all of it is implemented here"

# Flags of uvicorn, and the binding of other servers: what takes their place.
FOREIGN_FLAGS = {
    "--bind": "use --host and --port, or --uds",
    "-b": "use --host",
    "-p": "use --port",
    "--interface": "applications are ASGI 3; asgiref.wsgi.WsgiToAsgi wraps one of WSGI, "
    "asgiref.compatibility.guarantee_single_callable one of ASGI 2",
    "--http": _NOTHING_TO_CHOOSE,
    "--http2": "a proxy in front may speak HTTP/2 with clients, and HTTP/1.1 with this server",
    "--ws": _NOTHING_TO_CHOOSE,
    "--env-file": "set the variables before: with systemd's EnvironmentFile, docker's --env-file, "
    "or 'set -a; . FILE; set +a' in a shell",
    "--use-colors": "log lines have no colours",
    "--no-use-colors": "log lines have no colours: leave it out",
    "--proxy-headers": "name the proxy in --forwarded-allow-ips",
    "--no-proxy-headers": "leave it out: no header is believed unless --forwarded-allow-ips names a proxy",
    "--server-header": "use --header 'Server: NAME'",
    "--no-server-header": "leave it out: no Server header is sent",
    "--h11-max-incomplete-event-size": "use --limit-request-head",
    "--reload-delay": "leave it out: files are looked at four times a second at most",
    "--reset-contextvars": "leave it out: every connection and every request has a context of its own",
}

SWITCHES = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


class _Join(argparse.Action):
    """A flag that is given several times has the items of all, as uvicorn's users write it."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None or values is None else before + values)


class Parser(argparse.ArgumentParser):
    """Ends the process with one line and exit code 2 for arguments that it does not understand."""

    def error(self, message: str) -> NoReturn:
        print_error(f"{self.prog}: error: {message} (--help lists the flags)")
        self.exit(2)

    def parse(self, arguments: Optional[List[str]] = None) -> Dict[str, Any]:
        """The values of what is given, by field; ``app`` and ``demo`` are no fields."""
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].partition("=")[0]
            if flag.lower() in SWITCHES:
                # As uvicorn has it for --ws-per-message-deflate.
                self.error(
                    f"unrecognized arguments: {flag}: a switch takes no value; --no-... switches it off"
                )
            self.error(
                _describe_foreign(flag) or f"unrecognized arguments: {' '.join(unknown)}{_find_near(flag)}"
            )
        return vars(found)


def _describe_foreign(flag: str) -> Optional[str]:
    return f"there is no {flag}: {FOREIGN_FLAGS[flag]}" if flag in FOREIGN_FLAGS else None


def _find_near(flag: str) -> str:
    flags = ["--help", "--version", "--demo", *map(build_flag, fields(ServerConfig))]
    switches = [
        build_flag(item).replace("--", "--no-", 1) for item in fields(ServerConfig) if _is_switch(item)
    ]
    near = get_close_matches(flag, flags + switches, 1) if flag.startswith("-") else []
    return "".join(f": did you mean {name}?" for name in near)


def build_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser(
        prog=f"python3 -m {PACKAGE}",
        # An abbreviation could become ambiguous with a new flag.
        allow_abbrev=False,
        add_help=False,
        usage="""%(prog)s [module:app] [flags]
       %(prog)s vendor DEST [--only protocols]
       %(prog)s selftest""",
        description="An ASGI server for WebSockets, in pure Python. As the first word, 'vendor' copies this"
        " package into yours, and 'selftest' tests the copy; an application has a colon in its name.",
        epilog="Sizes are in bytes, times in seconds; 'none' switches off an optional limit. Each flag can"
        " also be set in the environment: --ws-max-size is WSBRIDGE_WS_MAX_SIZE, a switch is 1 or 0,"
        " module:app is WSBRIDGE_APP. A flag comes before its variable, and that before uvicorn's: UVICORN_*,"
        " FORWARDED_ALLOW_IPS, WEB_CONCURRENCY.",
    )
    items = {item.name: item for item in fields(ServerConfig)}
    group = parser.add_argument_group("Most used")
    group.add_argument(
        "app", nargs="?", metavar="module:app", default=argparse.SUPPRESS, help="ASGI application"
    )
    for name in MOST_USED:
        _add_flag(group, items[name])
    group.add_argument(
        "--demo",
        action="store_true",
        default=argparse.SUPPRESS,
        help="serve the demo, as without any argument",
    )
    group.add_argument("-h", "--help", action="help", help="print this text")
    group.add_argument(
        "--version", action="version", version=f"{PACKAGE} {__version__}", help="print the version"
    )
    for name, item in items.items():
        if name in SECTIONS:
            group = parser.add_argument_group(SECTIONS[name])
        if name not in MOST_USED:
            _add_flag(group, item)
    return parser


def build_flag(item: Field[Any]) -> str:
    """The flag of a field: ``--ws-max-size``."""
    return "--" + (item.metadata["flag"] or item.name).replace("_", "-")


def _is_switch(item: Field[Any]) -> bool:
    return type(item.default) is bool


def _add_flag(group: argparse._ArgumentGroup, item: Field[Any]) -> None:
    # A flag that is not given sets no value: the defaults are those of `ServerConfig`.
    options: Dict[str, Any] = {"default": argparse.SUPPRESS}
    if _is_switch(item):
        options["action"] = argparse.BooleanOptionalAction
    else:
        options.update(type=_argument_parser(item), metavar=_build_metavar(item), dest=item.name)
        if _kind(item) == _HEADERS:
            options["action"] = "append"
        elif _kind(item) == _LIST:
            options["action"] = _Join
    # Set afterwards: before Python 3.13 BooleanOptionalAction adds the default to the help that it is given.
    text = f"{item.metadata['help']} (default: {_format(item)})"
    group.add_argument(build_flag(item), **options).help = text.replace("%", "%%")


def _format(item: Field[Any]) -> str:
    """The default as one writes it on the command line."""
    if item.default in (None, "", ()):
        return "none"
    if isinstance(item.default, tuple):
        return ",".join(item.default)
    if _is_switch(item):
        return "on" if item.default else "off"
    return format(item.default, "o") if item.metadata["base"] == 8 else str(item.default)


def _kind(item: Field[Any]) -> str:
    return str(item.type).replace("Optional[", "").rstrip("]")


def _build_metavar(item: Field[Any]) -> str:
    choices = item.metadata["rule"].words.partition("one of ")[2]
    return choices.replace(", ", "|") or _METAVARS[_kind(item)]


_LIST, _HEADERS = "Tuple[str, ...", "Sequence[Tuple[str, str"
_METAVARS = {"int": "N", "float": "SECONDS", "str": "TEXT", _LIST: "TEXT,...", _HEADERS: "NAME:VALUE"}


def parse_text(item: Field[Any], text: str) -> Any:
    """The value of any field that ``text`` stands for; `ServerConfig` checks it. Raises `ValueError`.

    Several headers stand one in a line.
    """
    if _is_switch(item):
        if text.lower() not in SWITCHES:
            raise ValueError("it must be one of " + ", ".join(SWITCHES))
        return SWITCHES[text.lower()]
    parse = _value_parser(item)
    try:
        return list(map(parse, text.splitlines())) if _kind(item) == _HEADERS else parse(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None


def _value_parser(item: Field[Any]) -> Callable[[str], Any]:
    """A function from text to value, which raises `ValueError` with the rule."""
    is_optional = str(item.type).startswith("Optional[")
    base = item.metadata["base"]
    convert = _CONVERTERS[_kind(item)]

    def parse(text: str) -> Any:
        if is_optional and text.lower() == "none":
            return None
        try:
            return convert(text) if base == 10 else int(text, base)
        except ValueError:
            raise ValueError(f"it must be {_describe_rule(item)}") from None

    return parse


def _argument_parser(item: Field[Any]) -> Callable[[str], Any]:
    """The same for argparse, which says "invalid parse value" of a `ValueError`."""
    parse = _value_parser(item)

    def parse_argument(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r:.80}: {error}") from None

    return parse_argument


def _describe_rule(item: Field[Any]) -> str:
    """The rule of a field, in the words of the command line."""
    if item.metadata["base"] == 8:
        return "an octal number, such as 660"
    words: str = item.metadata["rule"].words
    return words.replace("None", "none")


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
