"""The four events: plain objects, equal by value."""

from __future__ import annotations

import unittest
from typing import Any, Dict, List, Tuple

from wsbridge.protocols import events
from wsbridge.protocols.errors import WSBridgeError
from wsbridge.protocols.events import (
    RequestReceived,
    WebSocketConnected,
    WebSocketDataReceived,
    WebSocketDisconnected,
)

HEADERS = ((b"host", b"a"), (b"cookie", b"1"), (b"cookie", b"2"))


def each() -> List[object]:
    """One of every kind, made anew."""
    return [
        RequestReceived(b"GET", b"/chat?a=1", HEADERS, "1.1"),
        WebSocketConnected(None),
        WebSocketConnected("chat"),
        WebSocketDataReceived("text"),
        WebSocketDataReceived(b"text"),
        WebSocketDisconnected(1000, "bye"),
        WebSocketDisconnected(1005, ""),
    ]


class EventTests(unittest.TestCase):
    def test_fields_are_what_was_given(self) -> None:
        request = RequestReceived(b"GET", b"/chat", HEADERS, "1.1")
        fields = (request.method, request.target, request.headers, request.http_version)
        self.assertEqual(fields, (b"GET", b"/chat", HEADERS, "1.1"))
        self.assertEqual(WebSocketConnected("chat").subprotocol, "chat")
        self.assertEqual(WebSocketDataReceived(b"").data, b"")
        disconnected = WebSocketDisconnected(1001, "away")
        self.assertEqual((disconnected.code, disconnected.reason), (1001, "away"))

    def test_arguments_have_names(self) -> None:
        request = RequestReceived(method=b"GET", target=b"/", headers=(), http_version="1.1")
        self.assertEqual(request, RequestReceived(b"GET", b"/", (), "1.1"))
        self.assertEqual(WebSocketConnected(subprotocol=None), WebSocketConnected(None))
        self.assertEqual(WebSocketDataReceived(data=""), WebSocketDataReceived(""))
        self.assertEqual(WebSocketDisconnected(code=1000, reason=""), WebSocketDisconnected(1000, ""))

    def test_equal_means_same_kind_and_same_values(self) -> None:
        for index, event in enumerate(each()):
            self.assertEqual([other == event for other in each()], [index == other for other in range(7)])

    def test_two_kinds_with_the_same_values_are_not_equal(self) -> None:
        self.assertNotEqual(WebSocketConnected("chat"), WebSocketDataReceived("chat"))

    def test_an_event_is_not_equal_to_anything_else(self) -> None:
        self.assertNotEqual(WebSocketDataReceived("a"), "a")
        self.assertNotEqual(WebSocketConnected(None), None)

    def test_equal_events_have_equal_hashes(self) -> None:
        self.assertEqual(len({*each(), *each()}), 7)

    def test_repr_shows_every_field(self) -> None:
        self.assertEqual(repr(WebSocketDataReceived(b"\xff")), "WebSocketDataReceived(data=b'\\xff')")
        self.assertEqual(
            repr(RequestReceived(b"GET", b"/", (), "1.1")),
            "RequestReceived(method=b'GET', target=b'/', headers=(), http_version='1.1')",
        )

    def test_names_of_headers_are_made_lower_case_and_values_kept(self) -> None:
        headers: Any = [(b"Host", b"A"), [b"X-MIXED", b"\xff"], (b"a", b"")]
        request = RequestReceived(b"GET", b"/", headers, "1.1")
        self.assertEqual(request.headers, ((b"host", b"A"), (b"x-mixed", b"\xff"), (b"a", b"")))

    def test_values_are_grouped_by_the_name_in_lower_case(self) -> None:
        request = RequestReceived(b"GET", b"/", [*HEADERS, (b"Cookie", b"1")], "1.1")
        self.assertEqual(request.values, {b"host": [b"a"], b"cookie": [b"1", b"2", b"1"]})

    def test_request_of_a_parser_is_equal_to_one_of_the_same_values(self) -> None:
        values = {b"host": [b"a"], b"cookie": [b"1", b"2"]}
        request = RequestReceived.from_parser(b"GET", b"/chat?a=1", HEADERS, "1.1", values)
        self.assertEqual(request, each()[0])
        self.assertIs(request.headers, HEADERS)
        self.assertIs(request.values, values)

    def test_versions_and_targets_of_every_form_are_taken(self) -> None:
        for version in ("1.1", "1.0", "2", "3"):
            self.assertEqual(RequestReceived(b"GET", b"/", (), version).http_version, version)
        for target in (b"/", b"*", b"http://a", b"ws://a/b?c"):
            self.assertEqual(RequestReceived(b"GET", target, (), "1.1").target, target)

    def test_value_of_the_wrong_type_is_the_callers_type_error(self) -> None:
        for arguments in (
            ("GET", b"/", (), "1.1"),
            (b"GET", "/", (), "1.1"),
            (None, b"/", (), "1.1"),
            (b"GET", b"/", (), b"1.1"),
            (b"GET", b"/", (), 1.1),
            (b"GET", b"/", None, "1.1"),
            (b"GET", b"/", {b"host": b"a"}, "1.1"),
            (b"GET", b"/", {b"ab": b"a"}, "1.1"),
            (b"GET", b"/", [("host", b"a")], "1.1"),
            (b"GET", b"/", [(b"host", "a")], "1.1"),
            (b"GET", b"/", [(b"host", b"a", b"b")], "1.1"),
            (b"GET", b"/", [(b"host",)], "1.1"),
            (b"GET", b"/", [(b"host", b"a"), b"ab"], "1.1"),
        ):
            with self.assertRaises(TypeError, msg=arguments):
                RequestReceived(*arguments)

    def test_value_outside_its_rule_is_the_callers_value_error(self) -> None:
        for target, version in (
            (b"/", "HTTP/1.1"),
            (b"/", "1.2"),
            (b"/", ""),
            (b"", "1.1"),
            (b"chat", "1.1"),
            (b"?a=b", "1.1"),
            (b"example.com:443", "1.1"),
        ):
            with self.assertRaises(ValueError, msg=(target, version)) as caught:
                RequestReceived(b"GET", target, (), version)
            self.assertNotIsInstance(caught.exception, WSBridgeError)

    def test_fields_can_be_matched_by_position(self) -> None:
        fields: Dict[str, Tuple[str, ...]] = {
            name: getattr(events, name).__match_args__ for name in events.__all__
        }
        self.assertEqual(fields["RequestReceived"], ("method", "target", "headers", "http_version"))
        self.assertEqual(fields["WebSocketConnected"], ("subprotocol",))
        self.assertEqual(fields["WebSocketDataReceived"], ("data",))
        self.assertEqual(fields["WebSocketDisconnected"], ("code", "reason"))

    def test_an_event_has_its_fields_and_no_others(self) -> None:
        for event in each():
            with self.assertRaises(AttributeError):
                event.extra = 1  # type: ignore[attr-defined]


if __name__ == "__main__":
    unittest.main()
