"""What each client is asked to do, and what must be seen of it by the client and by the application.

A client is a program that reads lines from stdin, one a scenario, of fields between tabs:

    url
    the subprotocols to offer, between commas
    a message to send first; empty: none
    how many messages to take before closing; empty: send every one back until the server closes
    the code to close with; empty: none
    the reason

and answers each with a line of JSON: `status` and `body` when it was refused, `error` when something else
went wrong, and otherwise `protocol`, `extensions`, how many `messages` came and the `sha256` of all of them,
the `code` (1005 for none) and the `reason` that it ended with, and the `seconds` from its own close to the
end. What a library does not show is null, and is one of the client's `lacks`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple
from urllib.parse import urlencode

from .app import list_messages

CLOSE_SECONDS = 0.5
PUSHED = 5
NO_CODE = 1005
LONGEST_REASON = "€" * 41  # 123 bytes: all that a CLOSE can hold beside its code

# What was compared, and what was expected and seen.
Shortfall = Tuple[str, str]


@dataclass(frozen=True)
class Scenario:
    """path, query: what the application does. The rest: what the client does, and what must be seen.

    close: the code and reason the client closes with, after `count` messages; None where the server closes.
    ends: the code and reason that both must have seen at the end.
    """

    name: str
    path: str
    query: Dict[str, str] = field(default_factory=dict)
    protocols: Sequence[str] = ()
    first: str = "go"
    count: int = 0
    close: Optional[Tuple[Optional[int], str]] = None
    ends: Tuple[int, str] = (1000, "")
    status: Optional[int] = None
    body: Optional[str] = None
    counts_messages: bool = False

    def build_line(self, address: str, key: str) -> str:
        url = f"ws://{address}{self.path}?{urlencode({**self.query, 'key': key})}"
        code, reason = self.close or (None, "")
        fields = [url, ",".join(self.protocols), self.first, str(self.count or ""), str(code or ""), reason]
        return "\t".join(fields) + "\n"


def list_scenarios() -> List[Scenario]:
    page = "salle n° 7"
    reasons = [(1001, "going away"), (3000, "zu groß: 5 €"), (4000, LONGEST_REASON), (4999, "𝄞")]
    return [
        _close_here("messages", "/messages", counts_messages=True),
        _close_here("empty messages", "/messages", {"empty": "yes"}, counts_messages=True),
        _close_here("subprotocol", query={"pick": "chat.v2"}, protocols=["chat.v1", "chat.v2"]),
        Scenario("refused, 403", "/refuse", status=403),
        Scenario("refused, 404", "/refuse", {"status": "404", "body": page}, status=404, body=page),
        Scenario("server closes", "/close"),
        _close_here("server closes at once", "/close-at-once", code=4001, reason="not you", first=""),
        *(_close_here(f"server closes, {code}", code=code, reason=reason) for code, reason in reasons),
        Scenario("client closes", "/be-closed", count=1, close=(None, ""), ends=(NO_CODE, "")),
        *(
            _close_there(f"client closes, {code}", code, reason)
            for code, reason in [(1000, "done"), *reasons]
        ),
        _close_there("push", 4001, "enough", "/push", first="", count=PUSHED),
        _close_there("push-subscribed", 4001, "enough", "/push-subscribed", count=PUSHED),
        _close_there("push-reader", 4001, "enough", "/push-reader", count=PUSHED),
    ]


def _close_here(
    name: str,
    path: str = "/close",
    query: Optional[Dict[str, str]] = None,
    *,
    code: int = 1000,
    reason: str = "all is said",
    **more: Any,
) -> Scenario:
    query = {**(query or {}), "code": str(code), "reason": reason}
    return Scenario(name, path, query, ends=(code, reason), **more)


def _close_there(
    name: str, code: int, reason: str, path: str = "/be-closed", *, count: int = 1, **more: Any
) -> Scenario:
    return Scenario(name, path, count=count, close=(code, reason), ends=(code, reason), **more)


def judge(
    scenario: Scenario, seen: Dict[str, Any], application: Dict[str, Any], *, is_compressed: bool
) -> Iterator[Shortfall]:
    """Hold what the client and the application saw against what must be seen."""
    if "error" not in seen and "over" not in application:
        yield "application", f"has not seen the end after 3 s: {application}"
    if scenario.status is not None and "status" in seen:
        yield from _compare("status", seen["status"], scenario.status)
        if scenario.body is not None:
            yield from _compare("body", seen.get("body"), scenario.body)
        return
    if scenario.status is not None:
        yield "error", f"not refused: {seen}"
        return
    if "wrong" in application:
        yield "messages", application["wrong"]
    if "error" in seen or "messages" not in seen:
        progress = f" after {application['echoed']} echoes" if "echoed" in application else ""
        yield "error", seen.get("error", f"refused: {seen}") + progress
        return
    yield from _judge_opening(scenario, seen, application, is_compressed)
    yield from _judge_end(scenario, seen, application)


def _judge_opening(
    scenario: Scenario, seen: Dict[str, Any], application: Dict[str, Any], is_compressed: bool
) -> Iterator[Shortfall]:
    yield from _compare("subprotocol", seen["protocol"] or "", scenario.query.get("pick", ""))
    if not scenario.counts_messages:
        return
    is_offered = "permessage-deflate" in application.get("offer", "")
    yield from _compare("compression", is_offered, True)
    if seen["extensions"] is None:
        yield "extensions", "not shown"
    else:
        is_agreed = "permessage-deflate" in seen["extensions"]
        yield from _compare("extensions", is_agreed, is_offered and is_compressed)
    count, digest = _digest_messages("empty" in scenario.query)
    yield from _compare("messages", application.get("echoed"), count)
    yield from _compare("messages", (seen["messages"], seen["sha256"]), (count, digest))


@cache
def _digest_messages(are_empty: bool) -> Tuple[int, str]:
    messages = list_messages(are_empty=are_empty)
    data = b"".join(one.encode() if isinstance(one, str) else one for one in messages)
    return len(messages), hashlib.sha256(data).hexdigest()


def _judge_end(scenario: Scenario, seen: Dict[str, Any], application: Dict[str, Any]) -> Iterator[Shortfall]:
    code, reason = scenario.ends
    if scenario.close is not None:
        yield from _compare("code the application saw", application.get("code"), code)
        yield from _compare("reason the application saw", application.get("reason"), reason)
        yield from _compare("code after its own close", seen["code"], code)
        if seen["seconds"] > CLOSE_SECONDS:
            yield "time to close", f"{seen['seconds']:.2f} s, more than {CLOSE_SECONDS} s"
    else:
        yield from _compare("code", seen["code"], code)
        yield from _compare("reason", seen["reason"], reason)
        # "typically echos the status code it received" (RFC 6455 5.5.1).
        yield from _compare("answer", application.get("code"), code)


def _compare(aspect: str, got: object, wanted: object) -> Iterator[Shortfall]:
    if got != wanted:
        yield aspect, f"expected {wanted!r}, got {got!r}"
