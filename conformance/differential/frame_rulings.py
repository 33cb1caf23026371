"""Rulings on frames and messages: RFC 6455 and RFC 7692."""

from __future__ import annotations

from typing import List

from .ruling import Ruling
from .sentences import (
    BFINAL,
    CLOSE_SENT,
    CONTROL_SIZE,
    ESTABLISHED,
    INCONSISTENT,
    INJECTED,
    LAST_OCTET,
    LIMITS,
    MINIMAL,
    NOT_UTF8,
    PONG,
    TOP_BIT,
)

FRAME_RULINGS: List[Ruling] = [
    # ------------------------------------------------------------------------------------------ wsbridge
    Ruling(
        "wsbridge-nothing-left",
        "a compressed message whose payload is empty, or ends with its own BFINAL block, is delivered",
        LAST_OCTET,
        "RFC 7692 7.2.1",
        "open: the sender broke the rule; the message is unmistakable, and the one behind it stays whole",
    ),
    # ---------------------------------------------------------------------------------------- websockets
    Ruling(
        "websockets-whole-frames",
        "judges a frame when all of it is there: reserved bits, control frames, order; in a cut"
        " stream, never",
        ESTABLISHED,
        "RFC 6455 7.1.7",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "websockets-whole-text",
        "judges UTF-8 when the message is complete, and not at the byte that decides",
        NOT_UTF8,
        "RFC 6455 8.1",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "websockets-long-length",
        "takes a length that is not in its shortest form",
        MINIMAL,
        "RFC 6455 5.2",
        "wsbridge",
    ),
    Ruling(
        "websockets-top-bit",
        "takes a 64-bit length with its top bit set for a large one: 1009, or waits for the payload",
        TOP_BIT,
        "RFC 6455 5.2",
        "wsbridge",
    ),
    Ruling(
        "websockets-close-in-message",
        "fails a CLOSE between the fragments of a message with 1002 in place of answering it",
        INJECTED,
        "RFC 6455 5.4",
        "wsbridge",
    ),
    Ruling(
        "websockets-reason-first",
        "a CLOSE with a forbidden code and a reason that is not UTF-8: 1007 in place of 1002",
        ESTABLISHED,
        "RFC 6455 7.1.7",
        "open: both are wrong, and either may be told",
    ),
    Ruling(
        "websockets-inflate-code",
        "compressed data that does not inflate: 1002 in place of 1007",
        INCONSISTENT,
        "RFC 6455 7.4.1 (1007)",
        "open: RFC 7692 names no code",
    ),
    Ruling(
        "websockets-bfinal",
        "loses what follows a block with BFINAL, in this message and in all that share its context",
        BFINAL,
        "RFC 7692 7.2.1",
        "wsbridge",
    ),
    Ruling(
        "websockets-cut-block",
        "delivers a compressed message that ends inside a block, as far as it goes; the next one is garbage",
        LAST_OCTET,
        "RFC 7692 7.2.1",
        "wsbridge",
    ),
    Ruling(
        "websockets-cut-block-too-big",
        "takes what the tail makes of a message that ends inside a block for too much data: 1009, not 1007",
        LAST_OCTET,
        "RFC 7692 7.2.1",
        "wsbridge",
    ),
    Ruling(
        "websockets-after-own-close",
        "goes on delivering messages, and judging them, after its own CLOSE",
        CLOSE_SENT,
        "RFC 6455 5.5.1",
        "open",
    ),
    Ruling(
        "websockets-limit-header",
        "applies the limit to the length in a header before anything else: to compressed payloads,"
        " to frames that are out of order",
        LIMITS,
        "RFC 6455 10.4",
        "open: limits are each implementation's own",
    ),
    Ruling(
        "websockets-limit-control",
        "applies the message's limit to control frames, before their own rule",
        CONTROL_SIZE,
        "RFC 6455 5.5",
        "wsbridge: 1002 for more than 125 bytes, and no limit below that",
    ),
    Ruling(
        "websockets-limit-held-back",
        "delivers the first part of a fragment that inflates past the limit; the rest waits inside zlib",
        LIMITS,
        "RFC 6455 10.4",
        "wsbridge",
    ),
    Ruling(
        "websockets-limit-exact",
        "inflates up to the limit and no further: data that is wrong right behind it is too big, 1009",
        LIMITS,
        "RFC 6455 10.4",
        "open: both close the connection",
    ),
    Ruling(
        "websockets-limit-zero",
        "inflates without limit where nothing is left of it (zlib takes max_length=0 for no limit)",
        LIMITS,
        "RFC 6455 10.4",
        "wsbridge",
    ),
    Ruling(
        "websockets-no-wire-limit",
        "counts no compressed bytes that inflate to nothing",
        LIMITS,
        "RFC 6455 10.4",
        "wsbridge",
    ),
    # ------------------------------------------------------------------------------------------- wsproto
    Ruling(
        "wsproto-control-in-compressed",
        "corrupts a compressed message with a control frame between its fragments: the rest is not inflated",
        INJECTED,
        "RFC 6455 5.4",
        "wsbridge",
    ),
    Ruling(
        "wsproto-bfinal",
        "loses what follows a block with BFINAL, and fails the next compressed message of that context",
        BFINAL,
        "RFC 7692 7.2.1",
        "wsbridge",
    ),
    Ruling(
        "wsproto-cut-block",
        "delivers a compressed message that ends inside a block, as far as it goes; the next one is garbage",
        LAST_OCTET,
        "RFC 7692 7.2.1",
        "wsbridge",
    ),
    Ruling(
        "wsproto-late-faults",
        "tells reserved bits and masking after the length, and order after the payload has begun to inflate",
        ESTABLISHED,
        "RFC 6455 7.1.7",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "wsproto-surrogate",
        "a surrogate (ed a0-bf) at the end of a fragment is told with the byte behind it",
        NOT_UTF8,
        "RFC 6455 8.1",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "wsproto-1014",
        "refuses close code 1014",
        "Status codes in the range 1000-2999 are reserved for definition by this protocol, its"
        " future revisions, and extensions specified in a permanent and readily available public"
        " specification.",
        "RFC 6455 7.4.2; 1014 is in the IANA registry",
        "wsbridge",
    ),
    Ruling(
        "wsproto-no-limit",
        "has no limit on the size of a message",
        LIMITS,
        "RFC 6455 10.4",
        "wsbridge",
    ),
    Ruling(
        "wsproto-after-own-close",
        "goes on delivering messages after its own CLOSE",
        CLOSE_SENT,
        "RFC 6455 5.5.1",
        "open",
    ),
    Ruling(
        "wsproto-no-pong-after-own-close",
        "a PING between its own CLOSE and the peer's cannot be answered: send() raises",
        PONG,
        "RFC 6455 5.5.2",
        "wsbridge and websockets",
    ),
]
