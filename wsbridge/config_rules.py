"""What the value of a field of `ServerConfig` must be: rules, each in words and as a test."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import field
from typing import Any, Callable, Iterator, NamedTuple, Optional

from .protocols.errors import ConfigError

__all__ = [
    "CERT_REQS",
    "CERT_REQS_BY_NUMBER",
    "HEADERS",
    "HOSTS",
    "METRICS_PATH",
    "OWN_PATH",
    "ROOT_PATH",
    "Rule",
    "SECONDS",
    "SECONDS_OR_ZERO",
    "SWITCH",
    "TEXT",
    "TEXTS",
    "is_text_tuple",
    "naming",
    "one_of",
    "option",
    "optional",
    "whole_number",
]


class Rule(NamedTuple):
    """What a field's value must be, in words, and the test of it."""

    words: str
    holds: Callable[[Any], bool]


def whole_number(low: int, high: Optional[int] = None) -> Rule:
    """A number within these bounds, which belong to it."""

    def holds(value: Any) -> bool:
        return type(value) is int and value >= low and (high is None or value <= high)

    return Rule(f"a whole number from {low}" + ("" if high is None else f" to {high}"), holds)


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 10**9


def is_text_tuple(value: Any) -> bool:
    """Whether ``value`` is a tuple of texts."""
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _is_host_list(value: Any) -> bool:
    return isinstance(value, str) and (value == "" or all(host.strip() for host in value.split(",")))


def _is_header_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, (list, tuple)) and len(item) == 2 and is_text_tuple(tuple(item)) for item in value
    )


_PATH = re.compile("(?:/(?!/)[^?#\x00-\x1f\x7f\ud800-\udfff]*)?")


def _is_root_path(value: Any) -> bool:
    # Two slashes begin a host; "?" and "#" end a path; a lone surrogate cannot be encoded in UTF-8.
    return isinstance(value, str) and _PATH.fullmatch(value) is not None


# As requests have it: what is not ASCII is encoded with "%".
_VISIBLE_PATH = re.compile('/(?!/)[!"$->@-~]*')


def _is_own_path(value: Any) -> bool:
    return isinstance(value, str) and _VISIBLE_PATH.fullmatch(value) is not None


def _is_metrics_path(value: Any) -> bool:
    return value is None or value == "" or _is_own_path(value)


def optional(rule: Rule) -> Rule:
    """``rule``, or None."""
    return Rule(f"{rule.words}, or None", lambda value: value is None or rule.holds(value))


def one_of(*choices: str) -> Rule:
    """One of these texts."""
    return Rule("one of " + ", ".join(choices), lambda value: value in choices)


# uvicorn has the numbers of the ssl module.
CERT_REQS_BY_NUMBER = {"0": "none", "1": "optional", "2": "required"}

CERT_REQS = Rule(
    "one of none, optional, required",
    lambda value: value in (*CERT_REQS_BY_NUMBER, *CERT_REQS_BY_NUMBER.values()),
)
SECONDS = Rule("a number of seconds above 0", _is_seconds)
SECONDS_OR_ZERO = Rule(
    "a number of seconds, or 0", lambda value: type(value) in (int, float) and 0 <= value < 10**9
)
SWITCH = Rule("True or False", lambda value: type(value) is bool)
TEXT = Rule("a text", lambda value: isinstance(value, str))
HOSTS = Rule("hosts separated by commas, or empty", _is_host_list)
OWN_PATH = Rule("a path of visible ASCII characters, such as /healthz", _is_own_path)
ROOT_PATH = Rule("a path such as /app, or empty", _is_root_path)
TEXTS = Rule("a tuple of texts", is_text_tuple)
HEADERS = Rule("a list of pairs of name and value", _is_header_list)
METRICS_PATH = Rule(
    "a path of visible ASCII characters, such as /metrics, or empty, or None", _is_metrics_path
)


def option(
    default: Any, rule: Rule, help: str, *, repr: bool = True, base: int = 10, flag: Optional[str] = None
) -> Any:
    """A field with its default, its rule, and its text for ``--help``.

    ``base`` is that in which a whole number is written on the command line,
    ``flag`` the name of the flag if it is not the field's.
    """
    return field(
        default=default, metadata={"rule": rule, "help": help, "base": base, "flag": flag}, repr=repr
    )


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the field whose item is wrong."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
