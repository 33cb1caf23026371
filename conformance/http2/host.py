"""A server of HTTP/2 made of h2 and wsbridge: an ASGI application's pages, and its WebSockets (RFC 8441).

python3 -m conformance.http2.host module:app PORT PORT_WITH_TLS CERTIFICATE
"""

from __future__ import annotations

import asyncio
import logging
import pkgutil
import signal
import ssl
import sys
from typing import Any, Callable, Dict, Optional

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from wsbridge import RequestStream, ServerConfig, Service

# wsbridge checks the headers: h2 would end the whole connection for one malformed request.
CONFIG = H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
SETTINGS = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1, SettingCodes.MAX_CONCURRENT_STREAMS: 100}
# Bytes. More than the windows of all streams: an application that takes nothing holds up no other stream.
CONNECTION_WINDOW, WRITE_LIMIT = 16 * 1024 * 1024, 64 * 1024


class Stream(RequestStream):
    def __init__(self, owner: Connection, number: int) -> None:
        super().__init__(owner.service, owner.transport, lambda: owner.remove(number))
        self.owner, self.h2, self.number = owner, owner.h2, number

    def send_headers(self, fields: Any) -> None:
        self.owner.call(self.h2.send_headers, self.number, fields)

    def send_data(self, data: bytes, is_last: bool) -> None:
        self.owner.call(self.h2.send_data, self.number, data, is_last)

    def send_reset(self, is_complete: bool) -> None:
        code = ErrorCodes.NO_ERROR if is_complete else ErrorCodes.CANCEL
        self.owner.call(self.h2.reset_stream, self.number, code)

    def acknowledge(self, size: int) -> None:
        self.owner.call(self.h2.acknowledge_received_data, size, self.number)

    def get_room(self) -> int:
        if self.owner.transport.get_write_buffer_size() > WRITE_LIMIT:
            return 0
        window: int = self.owner.call(self.h2.local_flow_control_window, self.number) or 0
        return min(window, self.h2.max_outbound_frame_size)


class Connection(asyncio.Protocol):
    def __init__(self, service: Service) -> None:
        self.service, self.h2 = service, H2Connection(CONFIG)
        self.h2.local_settings = Settings(client=False, initial_values=SETTINGS)
        self.streams: Dict[int, Stream] = {}
        self.idle_deadline = service.get_deadline(service.config.timeout_keep_alive)

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        # h2 refuses what is for a stream that the peer has reset, or a connection that has ended.
        try:
            return method(*arguments)
        except ProtocolError:
            return None
        finally:
            self.transport.write(self.h2.data_to_send())

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(WRITE_LIMIT)
        self.service.add(self)
        self.h2.initiate_connection()
        self.call(self.h2.increment_flow_control_window, CONNECTION_WINDOW)

    def data_received(self, data: bytes) -> None:
        received = self.call(self.h2.receive_data, data)
        if received is None:
            self.transport.close()
        for event in received or ():
            self.handle(event)

    def handle(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, events.RequestReceived):
            stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
            stream.answer(event.headers)
        elif isinstance(event, events.ConnectionTerminated):
            self.transport.close()
        elif stream is None:
            # The window of the connection has opened, perhaps, or SETTINGS have opened those of all streams.
            self.resume_writing()
        elif isinstance(event, events.DataReceived):
            stream.receive_data(event.data, event.flow_controlled_length)
        elif isinstance(event, events.StreamEnded):
            stream.receive_eof()
        elif isinstance(event, events.StreamReset):
            stream.lose(ConnectionResetError(f"stream reset with code {event.error_code}"))
        else:
            stream.flush()

    def resume_writing(self) -> None:
        for stream in list(self.streams.values()):
            stream.flush()

    def remove(self, number: int) -> None:
        del self.streams[number]
        if not self.service.is_stopping:
            self.idle_deadline = self.service.get_deadline(self.service.config.timeout_keep_alive)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.service.discard(self)
        for stream in list(self.streams.values()):
            stream.lose(exc)

    def check_deadlines(self, now: float) -> None:
        if not self.streams and now >= self.idle_deadline:
            self.call(self.h2.close_connection)
            self.transport.close()

    def shut_down(self) -> None:
        # By hand: where h2 has sent GOAWAY, it sends nothing more.
        self.transport.write(GoAwayFrame(0, self.h2.highest_inbound_stream_id).serialize())
        self.idle_deadline = 0.0

    def abort(self) -> None:
        self.transport.abort()


async def main(name: str, port: str, tls_port: str, certificate: str) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols(["h2"])
    service, loop = Service(pkgutil.resolve_name(name), ServerConfig()), asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    for number, context in ((port, None), (tls_port, tls)):
        await loop.create_server(lambda: Connection(service), "127.0.0.1", number, ssl=context)
    await stopping.wait()
    await service.shut_down(10)


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    asyncio.run(main(*sys.argv[1:]))
