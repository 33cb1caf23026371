"""What is measured: every workload by name, as the load generator does it."""

from __future__ import annotations

import fnmatch
import random
from typing import Iterable, List, NamedTuple, Optional

from ..lib.apps import answer
from ..lib.environment import Unavailable

# The applications for messages and for requests.
ECHO, ANSWER = "conformance.lib.apps.echo:app", "conformance.lib.apps.answer:app"

SIZES = {"16": 16, "125": 125, "1k": 1 << 10, "16k": 1 << 14, "64k": 1 << 16, "1m": 1 << 20}

# RFC 7692 7.1.1: without context takeover every message compresses alone, so one frame can be sent again.
NO_TAKEOVER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFERS = {"with takeover": "permessage-deflate", "without takeover": NO_TAKEOVER}


class Workload(NamedTuple):
    """What every server does once a round."""

    name: str
    size: int = 125
    connections: int = 1
    in_flight: int = 1  # on each connection
    is_binary: bool = False
    offer: Optional[str] = None  # the permessage-deflate that is negotiated
    visits: bool = False  # 16 connections are opened and closed all the time
    method: Optional[str] = None  # of HTTP requests in place of messages; `size` is that of their bodies

    @property
    def application(self) -> str:
        return ECHO if self.method is None else ANSWER


# one: a connection; hundred: 100 of them; burst: one, with 16 messages in flight; bursts: 100 such; deflate:
# one, compressed; handshakes: connections that are opened, upgraded and closed; get and post: HTTP requests,
# one at a time on each of 1 or 32 connections that are kept.
ALL = [
    *(Workload(f"one-{size}", SIZES[size]) for size in SIZES),
    *(Workload(f"hundred-{size}", SIZES[size], 100) for size in SIZES if size != "1m"),
    *(Workload(f"burst-{size}", SIZES[size], in_flight=16) for size in ("16", "125", "1k", "16k")),
    *(Workload(f"bursts-{size}", SIZES[size], 100, 16) for size in ("125", "1k")),
    *(Workload(f"deflate-{size}", SIZES[size], offer=NO_TAKEOVER) for size in ("125", "1k", "16k")),
    *(Workload(f"one-{size}-binary", SIZES[size], is_binary=True) for size in ("125", "16k", "64k", "1m")),
    *(
        Workload(f"hundred-{size}-binary", SIZES[size], 100, is_binary=True)
        for size in ("125", "1k", "16k", "64k")
    ),
    Workload("burst-1k-binary", SIZES["1k"], in_flight=16, is_binary=True),
    Workload("handshakes", visits=True),
    *(Workload(f"get-{count}", 0, count, method="GET") for count in (1, 32)),
    *(Workload(f"post-{count}", SIZES["1k"], count, method="POST") for count in (1, 32)),
]

# Measured once a run and not once a round, by modules of their own.
SINGLE = ("crowd", "crowd-deflate", "instructions", "imports", "codec")
QUICK = "one-125,one-16k,hundred-125,burst-125,deflate-1k,handshakes,get-32,post-32,crowd,imports"


def choose_names(patterns: Optional[str], is_quick: bool) -> List[str]:
    """Names of workloads that match a comma-separated list of names or globs; the default ones without it."""
    names = [workload.name for workload in ALL] + list(SINGLE)
    return match_names("workload", patterns or (QUICK if is_quick else "*"), names)


def match_names(what: str, patterns: str, names: Iterable[str]) -> List[str]:
    """The names that match one of `patterns`, which are separated by commas."""
    wanted = [one.strip() for one in patterns.split(",")]
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, one) for one in wanted)]
    if not chosen:
        raise Unavailable(f"no {what} matches {patterns!r}; there are {', '.join(names)}")
    return chosen


def build_payload(size: int) -> bytes:
    """`size` bytes of ASCII text shaped like a stream of JSON: compressible as real messages are."""
    words = "account bid channel event false index market null order price true"
    chosen = random.Random(size)
    text = ""
    while len(text) < size:
        first, second, third = (chosen.choice(words.split()) for _ in range(3))
        text += f'{{"{first}":"{second}","{third}":{chosen.randrange(10**6)}}},'
    return text[:size].encode()


def build_request(workload: Workload) -> bytes:
    """The HTTP request of a workload, with the headers that a client library sends."""
    head = (
        f"{workload.method} /items/4711?full=yes HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: python-httpx/0.28.1\r\n"
    )
    if workload.size:
        head += f"Content-Length: {workload.size}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"\r\n" + build_payload(workload.size)


def build_content(workload: Workload) -> bytes:
    """What the application answers to `build_request`."""
    return build_payload(workload.size)[-answer.SIZE :] if workload.size else answer.ANSWER
