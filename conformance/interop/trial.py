"""The vocabulary of the checks: what a check is, what it connects with, how it says what it expected."""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
from dataclasses import dataclass, field
from typing import (
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    ClassVar,
    Dict,
    FrozenSet,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from conformance.interop.tap import Tap
from conformance.lib.servers import ServerProcess

Message = Union[str, bytes]


class Mismatch(Exception):
    """A check's expectation that was not met; the text says what was done, expected and got."""


class Closed(Exception):
    """The connection is over, as the client sees it."""

    def __init__(self, code: Optional[int], reason: Optional[str]) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The opening handshake failed, as the client sees it; what it does not show is None."""

    def __init__(
        self,
        status: Optional[int],
        headers: Optional[List[Tuple[str, str]]] = None,
        body: Optional[bytes] = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(frozen=True)
class Deflate:
    """An offer of permessage-deflate; only the `websockets` client can make every one of them."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: Optional[int] = None
    client_max_window_bits: Union[int, bool, None] = True


@dataclass(frozen=True)
class Opening:
    """What a client is to ask for in its opening handshake.

    deflate: True for what the client offers on its own, False for no offer, an int for window bits.
    watch_pongs: the caller will call `ping`; some clients must be told beforehand.
    """

    subprotocols: Sequence[str] = ()
    deflate: Union[bool, int, Deflate] = True
    headers: Sequence[Tuple[str, str]] = ()
    watch_pongs: bool = False


class Connection:
    """One open WebSocket of some client. `wire` is the tap its bytes go through."""

    wire: Tap
    subprotocol: Optional[str]

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    async def send_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.send(message)

    async def receive_all(self, count: int) -> List[Message]:
        return [await self.receive() for _ in range(count)]

    async def send_fragments(self, fragments: Any, *, text: bool) -> None:
        """Send one message in several frames; `fragments` is an iterable of bytes, asynchronous or not."""
        raise NotImplementedError

    async def receive(self) -> Message:
        """Return the next message; raise `Closed` when there is none any more."""
        raise NotImplementedError

    async def ping(self, payload: bytes) -> None:
        """Send a PING and wait for its PONG."""
        raise NotImplementedError

    async def close(self, code: Optional[int] = None, reason: str = "") -> Closed:
        """Close from the client's side; return what the client ends with."""
        raise NotImplementedError

    async def abandon(self) -> None:
        """Let go of the connection however it stands."""
        raise NotImplementedError

    def describe_extensions(self) -> str:
        """What the client itself says it negotiated."""
        raise NotImplementedError

    async def wait_closed(self) -> Closed:
        """Read, and throw away, to the end; return the end."""
        while True:
            try:
                await self.receive()
            except Closed as closed:
                return closed


class Client:
    """A real client. `lacks` tells, for what it has no way to do, why: such checks are not run with it."""

    name: str
    version: str
    lacks: ClassVar[Dict[str, str]]

    async def open(self, url: str, opening: Opening) -> Connection:
        """Connect; raise `Refused` when the server says no."""
        raise NotImplementedError


def trust_anyone() -> ssl.SSLContext:
    """For the clients that meet a certificate made a moment ago."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_keys = itertools.count(1)


@dataclass
class Trial:
    """One client against one server: what a check is given."""

    client: Client
    server: ServerProcess
    broken_rules: List[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    def _make_tap(self) -> Tap:
        return Tap(self.server.target, is_opaque=self.server.scheme == "wss")

    def _build_url(self, tap: Tap, path: str) -> str:
        return f"{self.server.scheme}://127.0.0.1:{tap.port}{path}"

    @contextlib.asynccontextmanager
    async def connect(self, path: str, **options: Any) -> AsyncIterator[Connection]:
        """Connect through a tap of its own; at the end close, and search the wire for broken rules.

        options: those of `Opening`.
        """
        async with self._make_tap() as tap:
            connection = await self.client.open(self._build_url(tap, path), Opening(**options))
            connection.wire = tap
            try:
                yield connection
                if not tap.was_cut:
                    await connection.close()
            finally:
                await connection.abandon()
        self.broken_rules += tap.find_broken_rules()

    async def connect_refused(self, path: str, **options: Any) -> Tuple[Refused, Tap]:
        """Connect, expecting a refusal; return it as the client sees it, and the wire."""
        async with self._make_tap() as tap:
            try:
                connection = await self.client.open(self._build_url(tap, path), Opening(**options))
            except Refused as refused:
                refusal = refused
            else:
                await connection.abandon()
                raise Mismatch(f"opened {path}: expected a refusal, got an open connection")
        self.broken_rules += tap.find_broken_rules()
        return refusal, tap

    async def fetch_json(self, path: str) -> Any:
        """Connect to a path that tells one JSON value."""
        async with self.connect(path) as connection:
            return json.loads(await connection.receive())

    async def fetch_seen(self, key: str) -> Dict[str, Any]:
        """What the application saw of the connection whose query said `key=...`."""
        seen = dict(await self.fetch_json(f"/seen?key={key}"))
        if "still" in seen:
            raise Mismatch(f"asked what the application saw: after 8 s {seen['still']}")
        return seen


def make_key() -> str:
    return f"k{next(_keys)}"


def preview(value: object) -> str:
    """A value as an error message can bear it."""
    text = repr(value)
    if len(text) <= 160:
        return text
    length = f", {len(value):,} long" if isinstance(value, (str, bytes, list, tuple)) else ""
    return f"{text[:110]}...{text[-24:]} ({type(value).__name__}{length})"


def expect(what: str, got: object, wanted: object) -> None:
    """Fail unless got equals wanted, types included; `what` says what was done and looked at."""
    if type(got) is not type(wanted) or got != wanted:
        raise Mismatch(f"{what}: expected {preview(wanted)}, got {preview(got)}")


def expect_true(what: str, condition: object, got: object) -> None:
    if not condition:
        raise Mismatch(f"{what}: got {preview(got)}")


async def expect_echo(connection: Connection, message: Message) -> None:
    await connection.send(message)
    expect("echoed message", await connection.receive(), message)


def expect_closed(what: str, closed: Closed, code: int, reason: Optional[str] = None) -> None:
    expect(f"{what}, close code", closed.code, code)
    if reason is not None and closed.reason is not None:
        expect(f"{what}, close reason", closed.reason, reason)


# ------------------------------------------------------------------------------- the checks

CheckFunction = Callable[[Trial], Awaitable[Optional[str]]]


@dataclass(frozen=True)
class Check:
    name: str
    run: CheckFunction
    needs: FrozenSet[str]
    seconds: float


def check(*needs: str, seconds: float = 30.0) -> Callable[[CheckFunction], Check]:
    """Make a function a check: its name, underscores read as blanks, is what the report shows.

    needs: what the client must be able to do ("fragments", "pings", ...; see `Client.lacks`).
    seconds: when it is given up.
    The function returns a detail for the report, or None.
    """

    def build(function: CheckFunction) -> Check:
        return Check(function.__name__.replace("_", " "), function, frozenset(needs), seconds)

    return build


def list_checks(namespace: Dict[str, Any]) -> List[Check]:
    """The checks of a module, in the order they stand there."""
    return [value for value in namespace.values() if isinstance(value, Check)]
