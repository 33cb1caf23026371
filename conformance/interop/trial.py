"""The vocabulary of the checks: one client against one server, and what is expected of their connections."""

from __future__ import annotations

import contextlib
import itertools
import json
import reprlib
import ssl
from typing import Any, AsyncIterator, Callable, Dict, Optional, Tuple

import pytest
import trustme

from conformance.interop.rules import find_broken_rules
from conformance.interop.tap import Tap
from conformance.lib import wire
from conformance.lib.clients import Closed, Message, Refused
from conformance.lib.servers import ServerProcess

# Who signs the certificate of the TLS server, and the context of a client that trusts it.
AUTHORITY = trustme.CA()
TLS = ssl.create_default_context()
AUTHORITY.configure_trust(TLS)

_keys = itertools.count(1)


class Trial:
    """One client against one server: what a check is given.

    client: makes a `Client` for one connection.
    """

    def __init__(self, client: Callable[[], Any], server: ServerProcess) -> None:
        self.client = client
        self.server = server

    @contextlib.asynccontextmanager
    async def _watch(self) -> AsyncIterator[Tap]:
        """A tap in front of the server; at the end, search what it has seen for broken rules."""
        async with Tap(self.server) as tap:
            yield tap
        assert not find_broken_rules(tap)

    @contextlib.asynccontextmanager
    async def connect(self, path: str, **options: Any) -> AsyncIterator[Any]:
        """Connect through a tap of its own; at the end, close.

        options: `subprotocols` to offer; `headers` to add; `deflate`, which is False for no offer, or window
            bits, or an offer as the library takes it; `watch_pongs`, so that `ping` sees its PONG.
        """
        async with self._watch() as tap:
            connection = self.client()
            connection.tap = tap
            await connection.open(tap.address + path, **options)
            try:
                yield connection
                if not tap.was_cut:
                    await connection.finish()
            finally:
                await connection.abandon()

    async def connect_refused(self, path: str) -> Tuple[Refused, Tap]:
        """Connect, expecting a refusal; return it as the client sees it, and the wire."""
        async with self._watch() as tap:
            connection = self.client()
            with pytest.raises(Refused) as refusal:
                await connection.open(tap.address + path)
                await connection.abandon()
        return refusal.value, tap

    async def fetch_json(self, path: str) -> Any:
        """Connect to a path that tells one JSON value."""
        async with self.connect(path) as connection:
            return json.loads(await connection.receive())

    async def fetch_seen(self, key: str) -> Dict[str, Any]:
        """What the application saw of the connection whose query said `key=...`."""
        return dict(await self.fetch_json(f"/seen?key={key}"))


def make_key() -> str:
    return f"k{next(_keys)}"


def expect_message(got: Message, wanted: Message) -> None:
    """Fail unless they are equal, in a few words: a diff of 1 MiB helps nobody, and takes minutes."""
    if type(got) is not type(wanted) or got != wanted:
        sizes = f"{len(got):,} long instead of {len(wanted):,}"
        pytest.fail(f"expected message {reprlib.repr(wanted)}, got {reprlib.repr(got)}, {sizes}")


async def expect_echo(connection: Any, *messages: Message) -> None:
    for message in messages:
        await connection.send(message)
        expect_message(await connection.receive(), message)


async def expect_flood(connection: Any, count: int, size: int) -> None:
    """Receive what `flood` in interop_app.py sends."""
    for number, data in enumerate(await connection.receive_all(count)):
        expect_message(data, number.to_bytes(4, "big").ljust(size, b"\xa5"))
    expect_closed(await connection.wait_closed(), 1000, f"{count} sent")


def expect_closed(closed: Closed, code: int, reason: Optional[str] = None) -> None:
    """Compare what the client ends with; aiohttp does not show the reason of every CLOSE."""
    assert closed.code == code
    assert reason is None or closed.reason in (reason, None)


def expect_refusal(refused: Refused, tap: Tap, status: int, body: Optional[str] = None) -> None:
    """Compare status and body as the client shows them and as they were on the wire."""
    assert refused.status == status
    if tap.is_opaque:
        return
    assert tap.server.head.status == status
    wired = wire.parse_body(tap.server.head, tap.server.rest).decode()
    assert body is None or wired == body
    assert refused.body is None or refused.body == wired
