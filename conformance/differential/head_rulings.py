"""Rulings on request heads: RFC 9110 and RFC 9112."""

from __future__ import annotations

from typing import List

from .ruling import Ruling
from .sentences import (
    BARE_LF,
    BLANKS,
    BODY,
    CONTROL_BYTES,
    EMPTY_LINE,
    FOLDS,
    HOST,
    INVALID_LINE,
    METHODS,
    SPACES,
    TOO_LARGE,
    VERSION,
)

HEAD_RULINGS: List[Ruling] = [
    # ----------------------------------------------------------------------------------------------- h11
    Ruling(
        "h11-bare-lf",
        "takes LF for a line end",
        BARE_LF,
        "RFC 9112 2.2",
        "open: MAY; wsbridge refuses, so that no one in front of it reads other lines",
    ),
    Ruling(
        "h11-folds",
        "takes folded header lines",
        FOLDS,
        "RFC 9112 5.2",
        "open: either",
    ),
    Ruling(
        "h11-empty-line",
        "refuses an empty line before the request line",
        EMPTY_LINE,
        "RFC 9112 2.2",
        "wsbridge",
    ),
    Ruling(
        "h11-late",
        "judges a head when it is complete; a cut one, never",
        INVALID_LINE,
        "RFC 9112 3.2",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "h11-methods",
        "takes any method",
        METHODS,
        "RFC 9110 9.1",
        "open: wsbridge's contract is GET and HEAD",
    ),
    Ruling(
        "h11-targets",
        "takes any visible bytes for a target: fragments, no leading slash, no authority",
        INVALID_LINE,
        "RFC 9112 3.2",
        "wsbridge",
    ),
    Ruling(
        "h11-versions",
        "takes any HTTP version: 1.0, 1.2, 2.0, 9.9",
        VERSION,
        "RFC 9110 15.6.6",
        "wsbridge: RFC 6455 4.2.1 asks for HTTP/1.1, and HTTP/2 is not this protocol",
    ),
    Ruling(
        "h11-control-bytes",
        "takes control bytes in header values",
        CONTROL_BYTES,
        "RFC 9110 5.5",
        "wsbridge: they are invalid; whether the context is safe is not known here",
    ),
    Ruling(
        "h11-hosts",
        "takes any Host value, one that is not the target's, and none in HTTP/1.0",
        HOST,
        "RFC 9112 3.2",
        "wsbridge",
    ),
    Ruling(
        "h11-bodies",
        "takes requests with a body",
        BODY,
        "RFC 9112 6",
        "open: wsbridge's contract has no bodies",
    ),
    Ruling(
        "h11-limits",
        "limits neither the request line nor the number of header lines",
        TOO_LARGE,
        "RFC 9110 5.4",
        "open: limits are each implementation's own",
    ),
    # ----------------------------------------------------------------------------------------- httptools
    Ruling(
        "httptools-early",
        "in a cut head, tells a wrong method, authority, version or framing header at the byte that decides,"
        " not at the end of that part",
        INVALID_LINE,
        "RFC 9112 3.2",
        "open: the standard does not say how soon",
    ),
    Ruling(
        "httptools-empty-lines",
        "skips any number of CR and LF before the request line",
        EMPTY_LINE,
        "RFC 9112 2.2",
        "open: wsbridge skips one CRLF, which is all that is asked",
    ),
    Ruling(
        "httptools-spaces",
        "takes several spaces between the parts of the request line",
        SPACES,
        "RFC 9112 3",
        "open: MAY",
    ),
    Ruling(
        "httptools-preface",
        "waits for the rest of an HTTP/2 preface behind the method PRI",
        METHODS,
        "RFC 9110 9.1",
        "open: wsbridge's contract is GET and HEAD",
    ),
    Ruling(
        "httptools-methods",
        "takes the methods of its list",
        METHODS,
        "RFC 9110 9.1",
        "open: wsbridge's contract is GET and HEAD",
    ),
    Ruling(
        "httptools-targets",
        "takes fragments, the asterisk and any scheme in a target",
        INVALID_LINE,
        "RFC 9112 3.2",
        "wsbridge",
    ),
    Ruling(
        "httptools-versions",
        "takes HTTP/0.9 (even by a missing version), 1.0, 2.0 and RTSP/1.0",
        VERSION,
        "RFC 9110 15.6.6",
        "wsbridge: RFC 6455 4.2.1 asks for HTTP/1.1",
    ),
    Ruling(
        "httptools-trailing-blanks",
        "leaves blanks behind a header value",
        BLANKS,
        "RFC 9112 5.1",
        "wsbridge",
    ),
    Ruling(
        "httptools-hosts",
        "has no rule for Host: none, several, any",
        HOST,
        "RFC 9112 3.2",
        "wsbridge",
    ),
    Ruling(
        "httptools-bodies",
        "takes requests with a body",
        BODY,
        "RFC 9112 6",
        "open: wsbridge's contract has no bodies",
    ),
    Ruling(
        "httptools-limits",
        "limits neither the request line nor the number of header lines",
        TOO_LARGE,
        "RFC 9110 5.4",
        "open: limits are each implementation's own",
    ),
]
