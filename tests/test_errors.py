"""The tree of errors: what each is, and the close code or HTTP status it carries."""

from __future__ import annotations

import unittest
from typing import Dict, List, Tuple, Type

from wsbridge.protocols import errors

# RFC 6455 7.4.1: 1002 protocol error, 1007 data that is not what its type says, 1008 policy, 1009 too big.
VIOLATIONS: List[Tuple[errors.ProtocolViolation, int, str]] = [
    (errors.ReservedBitsSet(0xD1), 1002, "reserved bits 101 set without a meaning"),
    (errors.ReservedBitsSet(0xA2), 1002, "reserved bits 010 set without a meaning"),
    (errors.UnknownOpcode(11), 1002, "unknown opcode 11"),
    (errors.WrongMasking(False), 1002, "unmasked frame from a client"),
    (errors.WrongMasking(True), 1002, "masked frame from a server"),
    (errors.LengthNotMinimal(125), 1002, "payload length 125 is not in its shortest form"),
    (errors.LengthOverflow(), 1002, "most significant bit of the payload length is set"),
    (errors.ControlFrameFragmented(9), 1002, "fragmented control frame, opcode 9"),
    (errors.ControlFrameTooLong(8), 1002, "control frame of over 125 bytes, opcode 8"),
    (errors.UnexpectedContinuation(), 1002, "continuation frame outside a message"),
    (errors.ExpectedContinuation(2), 1002, "new message, opcode 2, inside a fragmented one"),
    (errors.ClosePayloadTruncated(), 1002, "close payload of 1 byte"),
    (errors.InvalidCloseCode(1006), 1002, "invalid close code 1006"),
    (errors.InvalidUTF8("close reason"), 1007, "close reason is not valid UTF-8"),
    (errors.InvalidCompressedData("too bad"), 1007, "compressed message does not inflate: too bad"),
    (errors.TooManyFragments(1024), 1008, "message in more than 1024 fragments"),
    (errors.MessageTooBig(65536), 1009, "message over 65536 bytes"),
]

REFUSALS: Dict[Type[errors.RequestRefused], int] = {
    errors.RequestRefused: 400,
    errors.BadRequest: 400,
    errors.Forbidden: 403,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.URITooLong: 414,
    errors.UpgradeRequired: 426,
    errors.HeadTooLarge: 431,
    errors.InternalServerError: 500,
    errors.ProtocolNotSupported: 501,
    errors.ContentTooLarge: 413,
    errors.ServiceUnavailable: 503,
    errors.TooManyRequests: 429,
    errors.HTTPVersionNotSupported: 505,
}


def classes() -> List[Type[errors.WSBridgeError]]:
    return [getattr(errors, name) for name in errors.__all__]


class TreeTests(unittest.TestCase):
    def test_every_error_has_one_root(self) -> None:
        for error in classes():
            self.assertTrue(issubclass(error, errors.WSBridgeError), error)

    def test_every_error_is_public(self) -> None:
        found = {name for name, value in vars(errors).items() if isinstance(value, type)}
        self.assertEqual(found, set(errors.__all__))

    def test_errors_that_have_a_builtin_counterpart_are_caught_as_it(self) -> None:
        for error, builtin in (
            (errors.EventError, ValueError),
            (errors.ConfigError, ValueError),
            (errors.StateError, RuntimeError),
            (errors.ClientDisconnected, OSError),
        ):
            with self.assertRaisesRegex(builtin, "^why$"):
                raise error("why")

    def test_client_disconnected_says_nothing_where_nothing_was_given(self) -> None:
        self.assertEqual(str(errors.ClientDisconnected()), "")
        self.assertIsNone(errors.ClientDisconnected("why").errno)


class ViolationTests(unittest.TestCase):
    def test_every_violation_carries_its_close_code_and_says_what_was_wrong(self) -> None:
        for violation, code, text in VIOLATIONS:
            self.assertEqual((violation.close_code, str(violation)), (code, text))

    def test_every_violation_is_listed_here(self) -> None:
        listed = {type(violation) for violation, _, _ in VIOLATIONS}
        self.assertEqual(listed, set(errors.ProtocolViolation.__subclasses__()))

    def test_the_root_of_violations_is_a_protocol_error(self) -> None:
        self.assertEqual(errors.ProtocolViolation("why").close_code, 1002)


class RefusalTests(unittest.TestCase):
    def test_every_refusal_carries_its_status(self) -> None:
        self.assertEqual(set(REFUSALS), {errors.RequestRefused, *errors.RequestRefused.__subclasses__()})
        for refusal, status in REFUSALS.items():
            self.assertEqual(refusal("why").status, status, refusal)

    def test_headers_that_a_status_must_have(self) -> None:
        headers = {refusal.status: refusal.headers for refusal in REFUSALS if refusal.headers}
        # RFC 9110 15.5.6 (Allow), RFC 9110 15.5.22 (Upgrade), RFC 6455 4.4 (Sec-WebSocket-Version),
        # RFC 9110 10.2.3 (Retry-After).
        self.assertEqual(
            headers,
            {
                405: ((b"Allow", b"GET, HEAD"),),
                426: ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")),
                429: ((b"Retry-After", b"1"),),
                503: ((b"Retry-After", b"1"),),
            },
        )


if __name__ == "__main__":
    unittest.main()
