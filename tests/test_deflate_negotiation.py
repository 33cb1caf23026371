"""Negotiation of permessage-deflate (RFC 7692 7.1) in header values, and what the wire then carries.

An offer is what a client's Sec-WebSocket-Extensions holds, an answer what the 101 holds. Masking keys are
four zeros.
"""

from __future__ import annotations

import random
import unittest
from typing import Any, List, Optional, Union

from wsbridge.protocols.deflate import Agreement, DeflateSettings
from wsbridge.protocols.deflate_negotiation import (
    build_deflate_offer,
    check_deflate_response,
    negotiate_deflate,
)
from wsbridge.protocols.errors import BadRequest, HandshakeFailed
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.fields import parse_extension_offers
from wsbridge.protocols.ws import WSProtocol

from .doubles import use_random, without

PLAIN = "permessage-deflate"

# zlib's own: nothing is limited unless an offer asks for it.
WIDEST = DeflateSettings(server_max_window_bits=15, client_max_window_bits=15)


def connect(value: str, client: bool = False, **settings: Any) -> WSProtocol:
    """A server that was offered ``value``, or a client that was answered with it; one line each."""
    return WSProtocol(
        client=client,
        enable_compression=True,
        peer_extensions=[line.encode() for line in value.split("\n")],
        deflate=DeflateSettings(**settings),
    )


class AnswerTestCase(unittest.TestCase):
    """The server's role."""

    def assert_answer(self, offer: str, answer: Optional[str], **settings: Any) -> None:
        protocol = connect(offer, **settings)
        self.assertEqual(protocol.extensions_response, answer)
        self.assertEqual(protocol.compression is None, answer is None)

    def assert_declined(self, offer: str) -> None:
        self.assert_answer(offer, None)

    def assert_skipped(self, parameters: str) -> None:
        """An offer of its own is declined, and one behind it is tried."""
        self.assert_declined(f"permessage-deflate; {parameters}")
        self.assert_answer(f"permessage-deflate; {parameters}, permessage-deflate", PLAIN)
        self.assert_answer(f"permessage-deflate; {parameters}\npermessage-deflate", PLAIN)


class ExamplesOfRFC7692Tests(AnswerTestCase):
    """7.1.3."""

    def test_simplest_offer(self) -> None:
        self.assert_answer("permessage-deflate", "permessage-deflate")

    def test_window_of_the_server_with_support_for_one_of_the_client(self) -> None:
        offer = "permessage-deflate; client_max_window_bits; server_max_window_bits=10"
        answer = "permessage-deflate; server_max_window_bits=10"
        self.assert_answer(offer, answer, client_max_window_bits=15)
        self.assert_answer(offer, answer + "; client_max_window_bits=12")

    def test_first_of_two_is_taken(self) -> None:
        offer = (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, "
            "permessage-deflate; client_max_window_bits"
        )
        answer = "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12"
        self.assert_answer(offer, answer)

    def test_second_is_taken_where_the_first_cannot_be_met(self) -> None:
        offer = (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=8, "
            "permessage-deflate; client_max_window_bits"
        )
        self.assert_answer(offer, "permessage-deflate; client_max_window_bits=12")


class OffersOfTheStreetTests(AnswerTestCase):
    def test_browsers_ws_and_websockets(self) -> None:
        self.assert_answer(
            "permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=12"
        )

    def test_nhooyr_and_gorilla_of_go(self) -> None:
        offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
        answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        self.assert_answer(offer, answer)
        self.assert_answer(answer, answer)

    def test_nhooyr_with_context_takeover(self) -> None:
        self.assert_answer("permessage-deflate", "permessage-deflate")

    def test_netty_offers_what_came_before_the_standard_besides(self) -> None:
        self.assert_answer(
            "permessage-deflate;client_max_window_bits,deflate-frame,x-webkit-deflate-frame",
            "permessage-deflate; client_max_window_bits=12",
        )

    def test_all_of_the_parameters(self) -> None:
        everything = (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=9; client_max_window_bits=8"
        )
        self.assert_answer(everything, everything)

    def test_old_webkit_and_other_extensions_are_declined(self) -> None:
        self.assert_declined("x-webkit-deflate-frame")
        self.assert_declined("permessage-bzip2, mux; max-channels=4")
        # Registered names are compared exactly.
        self.assert_declined("Permessage-Deflate")

    def test_others_before_it_are_passed_over(self) -> None:
        self.assert_answer("mux; max-channels=4, permessage-deflate", PLAIN)
        self.assert_answer("x-webkit-deflate-frame\npermessage-deflate", PLAIN)


class ServerWindowTests(AnswerTestCase):
    """`server_max_window_bits`, 7.1.2.1: said only to who asked for it."""

    def test_nobody_who_did_not_ask_is_told(self) -> None:
        for ours in range(9, 16):
            self.assert_answer(PLAIN, PLAIN, server_max_window_bits=ours)
            offer = "permessage-deflate; client_max_window_bits"
            answer = "permessage-deflate; client_max_window_bits=12"
            self.assert_answer(offer, answer, server_max_window_bits=ours)

    def test_smaller_of_both_is_said(self) -> None:
        for asked, ours, said in (
            ("9", 9, "9"),
            ("9", 15, "9"),
            ("11", 12, "11"),
            ("12", 12, "12"),
            ("13", 12, "12"),
            ("15", 12, "12"),
            ("15", 9, "9"),
            ("15", 15, "15"),
            ('"10"', 12, "10"),
        ):
            answer = f"permessage-deflate; server_max_window_bits={said}"
            offer = f"permessage-deflate; server_max_window_bits={asked}"
            self.assert_answer(offer, answer, server_max_window_bits=ours)

    def test_8_bits_are_declined_as_zlib_cannot_keep_to_them(self) -> None:
        self.assert_skipped("server_max_window_bits=8")
        self.assert_skipped("server_max_window_bits=8; client_max_window_bits")

    def test_value_is_8_to_15_without_leading_zeros(self) -> None:
        self.assert_skipped("server_max_window_bits")
        for value in ("0", "1", "7", "16", "08", "010", "115", "-9", "+9", "9.0", "x", '"16"'):
            self.assert_skipped(f"server_max_window_bits={value}")


class ClientWindowTests(AnswerTestCase):
    """`client_max_window_bits`, 7.1.2.2: never in the answer unless it was in the offer."""

    def test_nobody_who_did_not_offer_it_is_told(self) -> None:
        for ours in range(9, 16):
            self.assert_answer(PLAIN, PLAIN, client_max_window_bits=ours)
            everything_else = (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                "server_max_window_bits=12"
            )
            self.assert_answer(everything_else, everything_else, client_max_window_bits=ours)

    def test_without_a_value_we_choose(self) -> None:
        for ours in range(9, 15):
            answer = f"permessage-deflate; client_max_window_bits={ours}"
            offer = "permessage-deflate; client_max_window_bits"
            self.assert_answer(offer, answer, client_max_window_bits=ours)

    def test_window_of_15_bits_goes_without_saying(self) -> None:
        for offer in ("client_max_window_bits", "client_max_window_bits=15"):
            self.assert_answer(f"permessage-deflate; {offer}", PLAIN, client_max_window_bits=15)

    def test_smaller_of_both_is_said(self) -> None:
        for asked, ours, said in (
            (8, 9, 8),
            (8, 12, 8),
            (10, 12, 10),
            (12, 12, 12),
            (15, 12, 12),
            (14, 15, 14),
        ):
            answer = f"permessage-deflate; client_max_window_bits={said}"
            offer = f"permessage-deflate; client_max_window_bits={asked}"
            self.assert_answer(offer, answer, client_max_window_bits=ours)

    def test_value_is_8_to_15_without_leading_zeros(self) -> None:
        for value in ("0", "1", "7", "16", "08", "010", "115", "-9", "+9", "9.0", "x"):
            self.assert_skipped(f"client_max_window_bits={value}")


class ContextTakeoverTests(AnswerTestCase):
    def test_server_is_bound_where_the_client_asks_for_it(self) -> None:
        self.assert_answer(
            "permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"
        )

    def test_client_is_bound_where_it_offers_that(self) -> None:
        self.assert_answer(
            "permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"
        )

    def test_settings_bind_both_unasked(self) -> None:
        # 7.1.1.1 and 7.1.1.2 allow it, and the client has to know.
        answer = "permessage-deflate; server_no_context_takeover"
        self.assert_answer(PLAIN, answer, server_no_context_takeover=True)
        answer = "permessage-deflate; client_no_context_takeover"
        self.assert_answer(PLAIN, answer, client_no_context_takeover=True)

    def test_neither_has_a_value(self) -> None:
        for value in ("true", "1", "10", '"a"'):
            self.assert_skipped(f"server_no_context_takeover={value}")
            self.assert_skipped(f"client_no_context_takeover={value}")


class SkippedOfferTests(AnswerTestCase):
    """7.1: an offer with what is unknown, invalid or there twice MUST be declined."""

    def test_unknown_parameter(self) -> None:
        for parameters in (
            "foo",
            "foo=1; client_max_window_bits",
            "Server_no_context_takeover",
            "window_bits=10",
        ):
            self.assert_skipped(parameters)

    def test_repeated_parameter(self) -> None:
        self.assert_skipped("server_no_context_takeover; server_no_context_takeover")
        self.assert_skipped("client_max_window_bits; client_max_window_bits=10")
        self.assert_skipped("server_max_window_bits=10; server_max_window_bits=10")

    def test_third_is_taken_where_the_first_two_cannot_be(self) -> None:
        self.assert_answer(
            "permessage-deflate; foo, permessage-deflate; server_max_window_bits=8, " + PLAIN, PLAIN
        )

    def test_all_that_is_offered_behind_the_one_that_is_taken_is_left(self) -> None:
        offer = "permessage-deflate; server_max_window_bits=10, permessage-deflate; foo, permessage-deflate"
        self.assert_answer(offer, "permessage-deflate; server_max_window_bits=10")

    def test_malformed_offer_is_a_bad_request(self) -> None:
        for offer in (
            "permessage-deflate;",
            "permessage-deflate; =",
            'permessage-deflate; a="b',
            "a b",
            "f@o",
        ):
            with self.assertRaises(BadRequest):
                connect(offer)

    def test_nothing_offered(self) -> None:
        self.assert_declined("")
        self.assert_declined(" , ,")

    def test_python_without_zlib(self) -> None:
        with without("zlib"):
            self.assert_declined(PLAIN)

    def test_compression_that_is_not_wanted(self) -> None:
        for offer in (b"permessage-deflate", b"permessage-deflate; =", b"x-foo"):
            protocol = WSProtocol(peer_extensions=[offer])
            self.assertIsNone(protocol.extensions_response)
            self.assertIsNone(protocol.compression)


class OurOfferTests(unittest.TestCase):
    def assert_offer(self, offer: str, **settings: Any) -> None:
        self.assertEqual(build_deflate_offer(DeflateSettings(**settings)), offer)

    def test_defaults(self) -> None:
        self.assert_offer("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12")

    def test_windows_of_one_bit_less_than_all(self) -> None:
        offer = "permessage-deflate; server_max_window_bits=14; client_max_window_bits=14"
        self.assert_offer(offer, server_max_window_bits=14, client_max_window_bits=14)

    def test_widest_windows_go_without_saying_but_for_the_support_of_the_clients(self) -> None:
        offer = "permessage-deflate; client_max_window_bits"
        self.assert_offer(offer, server_max_window_bits=15, client_max_window_bits=15)

    def test_everything_asked_for(self) -> None:
        self.assert_offer(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=10; client_max_window_bits=11",
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            server_max_window_bits=10,
            client_max_window_bits=11,
        )


class AnswerTakenTests(unittest.TestCase):
    """The client's role: what a server may answer."""

    def assert_taken(self, answer: str, **settings: Any) -> None:
        protocol = connect(answer, client=True, **settings)
        self.assertIsNotNone(protocol.compression)
        self.assertIsNone(protocol.extensions_response)

    def test_no_parameters(self) -> None:
        self.assert_taken("permessage-deflate")

    def test_every_parameter(self) -> None:
        self.assert_taken(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=10; client_max_window_bits=11"
        )

    def test_what_a_server_may_say_unasked(self) -> None:
        # 7.1.1.1, 7.1.1.2 and 7.1.2.1.
        widest = {"server_max_window_bits": 15, "client_max_window_bits": 15}
        for parameter in (
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits=8",
            "server_max_window_bits=15",
            'server_max_window_bits="10"',
        ):
            self.assert_taken(f"permessage-deflate; {parameter}", **widest)

    def test_gorilla_which_knows_no_windows(self) -> None:
        self.assert_taken("permessage-deflate; server_no_context_takeover; client_no_context_takeover")

    def test_larger_client_window_than_offered_as_ours_may_be_smaller(self) -> None:
        # Autobahn's 13.4 answers so.
        self.assert_taken("permessage-deflate; client_max_window_bits=15")

    def test_nothing_answered_is_no_compression(self) -> None:
        for answer in ("", " ", ",", " , ,"):
            self.assertIsNone(connect(answer, client=True).compression)
        self.assertIsNone(WSProtocol(client=True, enable_compression=True).compression)
        self.assertIsNone(WSProtocol(client=True).compression)


class AnswerRefusedTests(unittest.TestCase):
    """The client's role: the handshake fails (RFC 6455 4.1, RFC 7692 7.1)."""

    def assert_fails(self, answer: str, reason: str, **settings: Any) -> None:
        with self.assertRaises(HandshakeFailed) as caught:
            connect(answer, client=True, **settings)
        self.assertEqual(str(caught.exception), reason)

    def assert_fails_where_nothing_was_offered(self, *lines: bytes) -> None:
        with self.assertRaises(HandshakeFailed):
            WSProtocol(client=True, peer_extensions=lines)

    def test_extension_that_was_not_offered(self) -> None:
        for name in ("x-foo", "x-webkit-deflate-frame", "Permessage-Deflate", "permessage-deflate2"):
            reason = f"server answered with an extension that was not offered: {name}"
            self.assert_fails(name, reason)
            self.assert_fails(f"permessage-deflate, {name}", reason)
            self.assert_fails(f"permessage-deflate\n{name}; a=b", reason)
            self.assert_fails(f"{name}, permessage-deflate", reason)

    def test_any_extension_where_nothing_was_offered(self) -> None:
        self.assert_fails_where_nothing_was_offered(b"x-foo")
        self.assert_fails_where_nothing_was_offered(b"permessage-deflate")
        self.assert_fails_where_nothing_was_offered(b"permessage-deflate; server_no_context_takeover")
        self.assert_fails_where_nothing_was_offered(b"", b"x-webkit-deflate-frame")
        self.assert_fails_where_nothing_was_offered(b", x-foo; a=b")
        self.assert_fails_where_nothing_was_offered(b"=")

    def test_permessage_deflate_twice(self) -> None:
        reason = "server answered with permessage-deflate twice"
        self.assert_fails("permessage-deflate, permessage-deflate", reason)
        self.assert_fails("permessage-deflate\npermessage-deflate", reason)
        self.assert_fails("permessage-deflate, permessage-deflate; client_no_context_takeover", reason)

    def test_parameter_that_is_unknown_invalid_or_repeated(self) -> None:
        for parameters in (
            "foo",
            "Server_no_context_takeover",
            "server_no_context_takeover=10",
            "client_no_context_takeover=10",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=010",
        ):
            reason = "server answered with an unknown, invalid or repeated parameter"
            self.assert_fails(f"permessage-deflate; {parameters}", reason)

    def test_malformed_answer(self) -> None:
        reason = "malformed Sec-WebSocket-Extensions in the server's answer"
        for answer in ("permessage-deflate;", "permessage-deflate; =", "permessage-deflate foo", "f@o", ";"):
            self.assert_fails(answer, reason)
        reason = "a quoted extension parameter is not a token in the server's answer"
        self.assert_fails('permessage-deflate; server_max_window_bits=""', reason)
        self.assert_fails("a," * 17, "more than 16 extension offers in the server's answer")

    def test_larger_server_window_than_asked_for(self) -> None:
        for asked in range(9, 15):
            for said in range(asked + 1, 16):
                answer = f"permessage-deflate; server_max_window_bits={said}"
                reason = f"server_max_window_bits={said} is more than was asked for"
                self.assert_fails(answer, reason, server_max_window_bits=asked)

    def test_client_window_without_a_value(self) -> None:
        # 7.1.2.2: only an offer may leave it out.
        reason = "client_max_window_bits without a value in a response"
        self.assert_fails("permessage-deflate; client_max_window_bits", reason)

    def test_client_window_that_zlib_cannot_keep(self) -> None:
        reason = "client_max_window_bits=8 cannot be met: zlib begins at 9"
        self.assert_fails("permessage-deflate; client_max_window_bits=8", reason)

    def test_context_takeover_of_a_server_that_was_asked_for_none(self) -> None:
        reason = "server_no_context_takeover was asked for and not agreed to"
        self.assert_fails("permessage-deflate", reason, server_no_context_takeover=True)

    def test_python_without_zlib(self) -> None:
        reason = "permessage-deflate cannot be met: this Python has no zlib"
        with without("zlib"):
            self.assert_fails("permessage-deflate", reason)


class ServerAgreementTests(unittest.TestCase):
    """What a server agrees on, and its answer."""

    def assert_agreed(
        self, offer: str, answer: str, agreement: Agreement, settings: DeflateSettings = WIDEST
    ) -> None:
        offers = parse_extension_offers([offer.encode()])
        self.assertEqual(negotiate_deflate(offers, settings), (agreement, answer))

    def test_plain_offer(self) -> None:
        self.assert_agreed("permessage-deflate", "permessage-deflate", Agreement(False, False, 15, 15))

    def test_server_no_context_takeover_is_kept(self) -> None:
        response = "permessage-deflate; server_no_context_takeover"
        agreement = Agreement(server_no_context_takeover=True)
        self.assert_agreed("permessage-deflate; server_no_context_takeover", response, agreement)
        settings = WIDEST._replace(server_no_context_takeover=True)
        self.assert_agreed("permessage-deflate", response, agreement, settings)

    def test_client_no_context_takeover_is_kept(self) -> None:
        response = "permessage-deflate; client_no_context_takeover"
        agreement = Agreement(client_no_context_takeover=True)
        self.assert_agreed("permessage-deflate; client_no_context_takeover", response, agreement)
        settings = WIDEST._replace(client_no_context_takeover=True)
        self.assert_agreed("permessage-deflate", response, agreement, settings)

    def test_server_window_is_the_smaller_of_both(self) -> None:
        for bits in range(9, 16):
            offer = f"permessage-deflate; server_max_window_bits={bits}"
            self.assert_agreed(offer, offer, Agreement(server_max_window_bits=bits))
        settings = WIDEST._replace(server_max_window_bits=11)
        expected = Agreement(server_max_window_bits=11)
        response = "permessage-deflate; server_max_window_bits=11"
        self.assert_agreed("permessage-deflate; server_max_window_bits=12", response, expected, settings)

    def test_server_window_is_kept_and_not_said_where_nobody_asked(self) -> None:
        for bits in range(9, 16):
            settings = WIDEST._replace(server_max_window_bits=bits)
            agreement = Agreement(server_max_window_bits=bits)
            self.assert_agreed("permessage-deflate", "permessage-deflate", agreement, settings)

    def test_client_window_is_limited_only_where_it_was_offered(self) -> None:
        settings = WIDEST._replace(client_max_window_bits=12)
        self.assert_agreed("permessage-deflate", "permessage-deflate", Agreement(), settings)
        offer, expected = "permessage-deflate; client_max_window_bits", Agreement(client_max_window_bits=12)
        self.assert_agreed(offer, "permessage-deflate; client_max_window_bits=12", expected, settings)
        self.assert_agreed(offer, "permessage-deflate", Agreement())

    def test_client_window_is_the_smaller_of_both(self) -> None:
        for bits in range(8, 15):
            offer = f"permessage-deflate; client_max_window_bits={bits}"
            self.assert_agreed(offer, offer, Agreement(client_max_window_bits=bits))
        settings = WIDEST._replace(client_max_window_bits=10)
        offer, response = (f"permessage-deflate; client_max_window_bits={bits}" for bits in (15, 10))
        self.assert_agreed(offer, response, Agreement(client_max_window_bits=10), settings)

    def test_all_parameters_at_once(self) -> None:
        everything = (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=9; client_max_window_bits=8"
        )
        self.assert_agreed(everything, everything, Agreement(True, True, 9, 8))

    def test_our_defaults_with_a_browsers_offer(self) -> None:
        self.assert_agreed(
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=12",
            Agreement(False, False, 12, 12),
            DeflateSettings(),
        )


class ClientAgreementTests(unittest.TestCase):
    """What a client takes a server's answer for."""

    def assert_agreed(self, answer: str, agreement: Agreement, settings: DeflateSettings = WIDEST) -> None:
        response = parse_extension_offers([answer.encode()])
        self.assertEqual(check_deflate_response(response, settings), agreement)

    def test_plain_answer(self) -> None:
        self.assert_agreed("permessage-deflate", Agreement())

    def test_answer_with_every_parameter(self) -> None:
        self.assert_agreed(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            "server_max_window_bits=8; client_max_window_bits=9",
            Agreement(True, True, 8, 9),
        )

    def test_what_we_asked_of_ourselves_holds_even_if_the_answer_is_silent(self) -> None:
        settings = DeflateSettings(False, True, 15, 10)
        for limit, bits in (("", 10), ("; client_max_window_bits=15", 10), ("; client_max_window_bits=9", 9)):
            self.assert_agreed("permessage-deflate" + limit, Agreement(False, True, 15, bits), settings)

    def test_answer_that_does_not_say_the_server_window_leaves_it_at_15_bits(self) -> None:
        for bits in (9, 12, 15):
            settings = WIDEST._replace(server_max_window_bits=bits)
            self.assert_agreed("permessage-deflate", Agreement(), settings)
            gorilla = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            self.assert_agreed(gorilla, Agreement(True, True), settings)

    def test_server_drops_its_context_as_it_was_asked_to(self) -> None:
        settings = WIDEST._replace(server_no_context_takeover=True)
        expected = Agreement(server_no_context_takeover=True)
        self.assert_agreed("permessage-deflate; server_no_context_takeover", expected, settings)


# RFC 7692 7.2.3.1 and 7.2.3.2: "Hello", and "Hello" out of the window.
HELLO, HELLO_AGAIN = "f248cdc9c90700", "f200110000"

# 600 and 32,768 bytes in a stored block (RFC 1951 3.2.4), and the empty one whose 00 00 ff ff is left out.
STORED_600 = "00 5802 a7fd 616263" + "78" * 597 + "00"
STORED_32768 = "00 0080 ff7f 616263" + "78" * 32765 + "00"
# RFC 1951 3.2.5 and 3.2.6: three bytes (0000001) from 600 back (10010 and 11101010) and from 32,768 back
# (11101 and thirteen ones), in one block with the fixed code.
FROM_600_BACK, FROM_32768_BACK = "02a62b0000", "02deff0f00"


def build_frame(payload: str, masked: bool) -> bytes:
    """One compressed text message of this payload."""
    data = bytes.fromhex(payload)
    size, key = len(data), b"\0\0\0\0" if masked else b""
    mask = 0x80 if masked else 0
    length = bytes([mask | size]) if size < 126 else bytes([mask | 126]) + size.to_bytes(2, "big")
    return b"\xc1" + length + key + data


class AgreementOnTheWireTests(unittest.TestCase):
    """What was agreed on is what is sent and what is taken, in both roles."""

    def assert_sends(self, value: str, *payloads: str, client: bool = False, **settings: Any) -> None:
        """ "Hello" as often as there are payloads."""
        use_random(self)
        protocol = connect(value, client, **settings)
        for payload in payloads:
            self.assertEqual(protocol.send_message("Hello"), build_frame(payload, client))

    def receive(self, value: str, client: bool, payloads: Any) -> Any:
        protocol = connect(value, client)
        data = b"".join(build_frame(payload, not client) for payload in payloads)
        return protocol.receive_data(data)[0]

    def assert_takes(self, value: str, last: str, *payloads: str, client: bool = False) -> None:
        events = self.receive(value, client, payloads)
        self.assertEqual(len(events), len(payloads))
        self.assertEqual(events[-1], WebSocketDataReceived(last))

    def assert_fails(self, value: str, *payloads: str, client: bool = False) -> None:
        """The last message is out of a window that was not agreed on."""
        *received, end = self.receive(value, client, payloads)
        self.assertEqual(len(received), len(payloads) - 1)
        self.assertIsInstance(end, WebSocketDisconnected)
        self.assertEqual(end.code, 1007)
        self.assertIn("too far back", end.reason)

    def test_server_sends_with_context_unless_it_was_asked_not_to(self) -> None:
        self.assert_sends(PLAIN, HELLO, HELLO_AGAIN)
        self.assert_sends("permessage-deflate; server_no_context_takeover", HELLO, HELLO, HELLO)
        self.assert_sends("permessage-deflate; client_no_context_takeover", HELLO, HELLO_AGAIN)
        self.assert_sends(PLAIN, HELLO, HELLO, server_no_context_takeover=True)

    def test_client_sends_with_context_unless_it_said_or_was_told_not_to(self) -> None:
        self.assert_sends(PLAIN, HELLO, HELLO_AGAIN, client=True)
        self.assert_sends("permessage-deflate; client_no_context_takeover", HELLO, HELLO, client=True)
        self.assert_sends("permessage-deflate; server_no_context_takeover", HELLO, HELLO_AGAIN, client=True)
        self.assert_sends(PLAIN, HELLO, HELLO, client=True, client_no_context_takeover=True)

    def test_server_takes_context_of_a_client_that_was_not_told_to_drop_it(self) -> None:
        self.assert_takes(PLAIN, "Hello", HELLO, HELLO_AGAIN)
        self.assert_takes("permessage-deflate; server_no_context_takeover", "Hello", HELLO, HELLO_AGAIN)
        self.assert_fails("permessage-deflate; client_no_context_takeover", HELLO, HELLO_AGAIN)

    def test_client_takes_context_of_a_server_that_did_not_drop_it(self) -> None:
        self.assert_takes(PLAIN, "Hello", HELLO, HELLO_AGAIN, client=True)
        self.assert_takes(
            "permessage-deflate; client_no_context_takeover", "Hello", HELLO, HELLO_AGAIN, client=True
        )
        self.assert_fails("permessage-deflate; server_no_context_takeover", HELLO, HELLO_AGAIN, client=True)

    def test_server_takes_all_of_a_window_that_it_did_not_limit(self) -> None:
        self.assert_takes(PLAIN, "abc", STORED_600, FROM_600_BACK)
        self.assert_takes(PLAIN, "abc", STORED_32768, FROM_32768_BACK)
        self.assert_takes("permessage-deflate; client_max_window_bits", "abc", STORED_600, FROM_600_BACK)
        self.assert_fails("permessage-deflate; client_max_window_bits", STORED_32768, FROM_32768_BACK)
        self.assert_fails("permessage-deflate; client_max_window_bits=9", STORED_600, FROM_600_BACK)

    def test_client_takes_all_of_a_window_that_the_server_did_not_limit(self) -> None:
        self.assert_takes(PLAIN, "abc", STORED_32768, FROM_32768_BACK, client=True)
        self.assert_takes(
            "permessage-deflate; server_max_window_bits=10", "abc", STORED_600, FROM_600_BACK, client=True
        )
        self.assert_fails(
            "permessage-deflate; server_max_window_bits=9", STORED_600, FROM_600_BACK, client=True
        )

    def assert_reaches_back(self, is_far: bool, value: str, **options: Any) -> None:
        """Whether our second message refers to the first, 5,000 bytes that no one can make smaller."""
        data = random.Random(1).randbytes(5000)
        protocol = connect(value, **options)
        first, second = protocol.send_message(data), protocol.send_message(data)
        self.assertGreater(len(first), 5000)
        self.assertEqual(len(second) < 100, is_far)

    def test_server_keeps_to_its_window_of_12_bits_whether_it_says_so_or_not(self) -> None:
        self.assert_reaches_back(False, PLAIN)
        self.assert_reaches_back(False, "permessage-deflate; server_max_window_bits=15")
        self.assert_reaches_back(True, PLAIN, server_max_window_bits=15)
        asked = "permessage-deflate; server_max_window_bits=12"
        self.assert_reaches_back(False, asked, server_max_window_bits=15)

    def test_client_keeps_to_its_window_of_12_bits_whether_it_was_told_to_or_not(self) -> None:
        self.assert_reaches_back(False, PLAIN, client=True)
        self.assert_reaches_back(False, "permessage-deflate; client_max_window_bits=15", client=True)
        self.assert_reaches_back(True, PLAIN, client=True, client_max_window_bits=15)
        told = "permessage-deflate; client_max_window_bits=12"
        self.assert_reaches_back(False, told, client=True, client_max_window_bits=15)

    def test_messages_of_every_size_survive_both_ways(self) -> None:
        for bits in range(9, 16):
            for alone in ("", "; server_no_context_takeover; client_no_context_takeover"):
                offer = (
                    f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}{alone}"
                )
                self.assert_survives(offer)
        self.assert_survives(PLAIN)

    def assert_survives(self, offer: str) -> None:
        server = connect(offer, server_max_window_bits=15, client_max_window_bits=15)
        answer = str(server.extensions_response)
        client = connect(answer, client=True, server_max_window_bits=15, client_max_window_bits=15)
        messages: List[Union[str, bytes]] = [
            "",
            "",
            "Hello",
            "Hello",
            b"",
            b"\xff" * 70000,
            "\u20ac" * 5000,
            bytes(range(256)) * 300,
            "Hello",
            "",
        ]
        expected = [WebSocketDataReceived(message) for message in messages]
        for sender, receiver in ((server, client), (client, server)):
            frames = [sender.send_message(message) for message in messages]
            self.assertEqual({frame[0] for frame in frames}, {0xC1, 0xC2})
            self.assertEqual(receiver.receive_data(b"".join(frames)), (expected, b""))


class EveryMessageTests(unittest.TestCase):
    """By default every message is compressed, however short (7.2.3.6 for the empty ones)."""

    def assert_sends(self, message: Union[str, bytes], frame: str, **settings: Any) -> None:
        self.assertEqual(connect(PLAIN, **settings).send_message(message), bytes.fromhex(frame))

    def test_empty_message_is_one_byte_of_zero(self) -> None:
        self.assert_sends("", "c1 01 00")
        self.assert_sends(b"", "c2 01 00")

    def test_short_messages(self) -> None:
        self.assert_sends("Hello", "c1 07 f248cdc9c90700")
        self.assert_sends(b"Hello", "c2 07 f248cdc9c90700")

    def test_empty_message_is_one_byte_wherever_it_comes(self) -> None:
        protocol = connect(PLAIN)
        frames = [protocol.send_message(message).hex() for message in ("", "", "Hello", "", "Hello", "")]
        self.assertEqual(
            frames, ["c10100", "c10100", "c107" + HELLO, "c10100", "c105" + HELLO_AGAIN, "c10100"]
        )

    def test_threshold_leaves_shorter_ones_as_they_are(self) -> None:
        self.assert_sends("Hell", "81 04 48656c6c", threshold=5)
        self.assert_sends("Hello", "c1 07 f248cdc9c90700", threshold=5)
        self.assert_sends("", "81 00", threshold=1)


if __name__ == "__main__":
    unittest.main()
