"""A client of HTTP/2: h2 has its frames, wsproto those of the WebSockets on its streams (RFC 8441)."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar, Union

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

Header = Tuple[str, str]
Message = Union[str, bytes]
T = TypeVar("T")

#: The ports that speak TLS.
TLS: Dict[int, ssl.SSLContext] = {}

# Seconds that one step of a check may take.
STEP_SECONDS = 15.0


class Reset(Exception):
    """The server has reset the stream, or ended the connection; None is the connection."""

    def __init__(self, code: Optional[int]) -> None:
        super().__init__(code)
        self.code = code


class Http2:
    """`async with Http2(port) as client`: one connection.

    window: the size of the windows of the streams, in bytes.
    opens_windows: whether a window opens as soon as data has come, and not by `Stream.open_window`.
    """

    def __init__(
        self,
        port: int,
        *,
        window: int = 65535,
        opens_windows: bool = True,
    ) -> None:
        self._port = port
        self._tls = TLS.get(port)
        self.window = window
        self.opens_windows = opens_windows
        # The tests of malformed requests send them.
        config = H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = H2Connection(config)
        self.streams: Dict[int, Stream] = {}
        #: The code of GOAWAY, once it has come, and the number of the last stream that is still answered.
        self.goaway: Optional[Tuple[int, int]] = None
        self.is_closed = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Http2:
        reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls, server_hostname="127.0.0.1" if self._tls else None
        )
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self.window, SettingCodes.ENABLE_PUSH: 0})
        if self.window > 65535:
            self.h2.increment_flow_control_window(64 * self.window)
        self.flush()
        #: Ends with the connection.
        self.reading = asyncio.ensure_future(self._read(reader))
        await self.wait(lambda: bool(self.h2.remote_settings.enable_connect_protocol))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reading.cancel()
        self._writer.transport.abort()
        await asyncio.wait([self.reading])
        if not self.reading.cancelled():
            # What the server has sent, and h2 does not allow.
            self.reading.result()

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    async def wait(self, condition: Callable[[], T]) -> T:
        """Wait until what has come makes `condition` true."""

        async def wait() -> T:
            while not (value := condition()):
                if self.is_closed:
                    raise Reset(None)
                self._changed.clear()
                await self._changed.wait()
            return value

        return await asyncio.wait_for(wait(), STEP_SECONDS)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                # One frame at a time: h2 refuses what comes with GOAWAY, which `_handle` amends.
                head = await reader.readexactly(9)
                frame = head + await reader.readexactly(int.from_bytes(head[:3], "big"))
                for event in self.h2.receive_data(frame):
                    self._handle(event)
                self.flush()
                self._changed.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.is_closed = True
            self._changed.set()

    def _handle(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, events.ConnectionTerminated):
            self.goaway = int(event.error_code), int(event.last_stream_id)
            # h2 would not go on, but the server answers what it has said it would.
            self.h2.state_machine.state = type(self.h2.state_machine.state).CLIENT_OPEN
        elif stream is not None:
            stream.handle(event)

    def request(self, method: str, path: str, headers: Sequence[Header] = (), *, ends: bool = True) -> Stream:
        pseudo = [(":method", method), (":scheme", "https" if self._tls else "http")]
        return self.open(
            [*pseudo, (":authority", f"127.0.0.1:{self._port}"), (":path", path), *headers], ends
        )

    def open(self, fields: Sequence[Header], ends: bool) -> Stream:
        """A stream whose header section has these fields."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, list(fields), end_stream=ends)
        self.flush()
        return stream

    async def get(self, path: str) -> bytes:
        return await self.request("GET", path).read()

    async def ask(self, path: str) -> Any:
        """What a page tells as JSON."""
        return json.loads(await self.get(path))

    async def connect(
        self, path: str, headers: Sequence[Header] = (), *, compresses: bool = False
    ) -> WebSocket:
        """A WebSocket that the server has accepted."""
        extensions = [PerMessageDeflate()] if compresses else []
        offers = [("sec-websocket-extensions", f"{e.name}; {e.offer()}") for e in extensions]
        stream = self.open_websocket(path, [*offers, *headers])
        answer = await stream.get_headers()
        assert answer[":status"] == "200", answer
        for extension in extensions:
            extension.finalize(answer["sec-websocket-extensions"])
        return WebSocket(stream, answer, extensions)

    def open_websocket(self, path: str, headers: Sequence[Header] = (), version: str = "13") -> Stream:
        fields = [(":protocol", "websocket"), ("sec-websocket-version", version), *headers]
        pseudo = [field for field in fields if field[0].startswith(":")]
        others = [field for field in fields if not field[0].startswith(":")]
        return self.request("CONNECT", path, [*pseudo, *others], ends=False)


class Stream:
    """One stream, from its request on."""

    def __init__(self, client: Http2, number: int) -> None:
        self.client = client
        self.number = number
        self.headers: Dict[str, str] = {}
        self.informational: List[str] = []
        self.data = bytearray()
        self.is_ended = False
        self.reset: Optional[int] = None
        self._unacknowledged = 0

    def handle(self, event: Any) -> None:
        if isinstance(event, events.ResponseReceived):
            self.headers = dict(event.headers)
        elif isinstance(event, events.InformationalResponseReceived):
            self.informational.append(dict(event.headers)[":status"])
        elif isinstance(event, events.DataReceived):
            self.data += event.data
            self._unacknowledged += event.flow_controlled_length
            if self.client.opens_windows:
                self.open_window()
        elif isinstance(event, events.StreamEnded):
            self.is_ended = True
        elif isinstance(event, events.StreamReset):
            self.reset = int(event.error_code)

    def open_window(self) -> None:
        """Open the windows by what has come."""
        size, self._unacknowledged = self._unacknowledged, 0
        self.client.h2.acknowledge_received_data(size, self.number)
        self.client.flush()

    async def wait(self, condition: Callable[[], T]) -> T:
        def check() -> Any:
            value = condition()
            if not value and self.reset is not None:
                raise Reset(self.reset)
            return value

        return await self.client.wait(check)

    async def get_headers(self) -> Dict[str, str]:
        return await self.wait(lambda: self.headers)

    async def read(self) -> bytes:
        """The data to its end."""
        await self.wait(lambda: self.is_ended)
        return bytes(self.data)

    async def send(self, data: bytes, *, ends: bool = False) -> None:
        """Send all of it, as the windows allow."""
        h2 = self.client.h2
        while data or ends:
            room = min(h2.local_flow_control_window(self.number), h2.max_outbound_frame_size)
            if data and room <= 0:
                await self.wait(lambda: h2.local_flow_control_window(self.number) > 0)
                continue
            part, data = data[:room], data[room:]
            h2.send_data(self.number, part, end_stream=ends and not data)
            self.client.flush()
            ends = ends and bool(data)

    def cancel(self) -> None:
        self.client.h2.reset_stream(self.number, ErrorCodes.CANCEL)
        self.client.flush()


class WebSocket:
    """The frames on a stream."""

    def __init__(self, stream: Stream, answer: Dict[str, str], extensions: Sequence[Any] = ()) -> None:
        self.stream = stream
        self.answer = answer
        self._frames = Frames(ConnectionType.CLIENT, list(extensions))
        self._received: List[Message] = []
        #: Code and reason of the server's CLOSE.
        self.close: Optional[Tuple[int, str]] = None
        self.pongs: List[bytes] = []

    async def send(self, message: Message) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        await self.stream.send(self._frames.send(event))

    async def ping(self, payload: bytes) -> None:
        await self.stream.send(self._frames.send(Ping(payload)))

    async def receive(self) -> Message:
        """The next message; `AssertionError` where a CLOSE comes instead."""
        await self.stream.wait(lambda: self._parse() or self._received or self.close)
        assert self._received, self.close
        return self._received.pop(0)

    async def wait_closed(self) -> Tuple[int, str]:
        """Answer the server's CLOSE, and end both sides of the stream."""
        close = await self.stream.wait(lambda: self._parse() or self.close)
        if not self._has_closed:
            await self.stream.send(self._frames.send(CloseConnection(1000)), ends=True)
        await self.stream.read()
        return close

    async def finish(self, code: int, reason: str = "") -> Tuple[int, str]:
        """Close, and return what the server has answered."""
        await self.stream.send(self._frames.send(CloseConnection(code, reason)))
        self._has_closed = True
        close = await self.wait_closed()
        if self.stream.reset is None:
            await self.stream.send(b"", ends=True)
        return close

    _has_closed = False
    _text = ""
    _bytes = b""

    def _parse(self) -> None:
        if not self.stream.data:
            return
        data = bytes(self.stream.data)
        self.stream.data.clear()
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    self._received.append(self._text)
                    self._text = ""
            elif isinstance(event, BytesMessage):
                self._bytes += bytes(event.data)
                if event.message_finished:
                    self._received.append(self._bytes)
                    self._bytes = b""
            elif isinstance(event, CloseConnection):
                self.close = event.code, event.reason or ""
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
