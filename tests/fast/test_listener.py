"""`Listener`: who comes is accepted, and an error costs a second and no connection."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import unittest
from typing import Any, Dict, List
from unittest import mock

from tests.doubles import turn_loop
from tests.loopback import LoopbackCase
from wsbridge.config import ServerConfig
from wsbridge.server.log import logger
from wsbridge.server.service import Service

from .test_poller import HAS_EPOLL, NAME, NO_EPOLL

if HAS_EPOLL:
    from wsbridge.server.fast import listener as listener_module
    from wsbridge.server.fast.listener import ACCEPT_RETRY_DELAY, ACCEPTS_IN_A_ROW, Listener
    from wsbridge.server.fast.poller import Poller


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class ListenerTests(LoopbackCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.poller = Poller()
        self.addCleanup(self.poller.close)
        self.reports: List[Dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self.reports.append(context))
        self.service = Service(mock.Mock(), ServerConfig())
        self.addAsyncCleanup(turn_loop)
        self.addCleanup(self.service.cut)
        self.listen(socket.create_server(("127.0.0.1", 0)))

    def listen(self, listening: socket.socket) -> None:
        with listening:
            self.address = listening.getsockname()
            self.listener = Listener(self.poller, self.service, listening)
        self.addCleanup(self.listener.close)

    def knock(self) -> socket.socket:
        """Connect: that the kernel does, before anybody accepts."""
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        self.addCleanup(client.close)
        client.connect(self.address)
        return client

    def turn(self) -> List[Any]:
        """The connections there are after one look at what is ready."""
        self.assertEqual(self.poller.select(0), [])
        return [member._transport for member in self.service.members]  # type: ignore[attr-defined]

    async def test_who_comes_is_accepted(self) -> None:
        self.assertEqual(self.turn(), [])
        client = self.knock()
        [transport] = self.turn()
        self.assertEqual(transport.get_extra_info("peername"), client.getsockname())
        self.assertEqual(transport.get_extra_info("sockname"), self.address)
        accepted = transport.get_extra_info("socket")
        self.assertFalse(accepted.getblocking())
        self.assertEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
        client.send(b"GET / HTTP/9.9\r\n\r\n")
        self.turn()
        self.assertRegex(client.recv(1000), b"^HTTP/1.1 505 ")

    async def test_unix_socket(self) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(self.make_folder() / "ws.sock"))
        listening.listen()
        self.listen(listening)
        self.knock()
        [transport] = self.turn()
        self.assertEqual(transport.get_extra_info("sockname"), self.address)

    async def test_many_are_accepted_in_more_than_one_turn(self) -> None:
        for _ in range(ACCEPTS_IN_A_ROW + 1):
            self.knock()
        self.assertEqual(len(self.turn()), ACCEPTS_IN_A_ROW)
        self.assertEqual(len(self.turn()), ACCEPTS_IN_A_ROW + 1)

    async def test_who_has_left_meanwhile_is_no_error(self) -> None:
        self.knock()
        with mock.patch.object(socket.socket, "accept", side_effect=ConnectionAbortedError()):
            self.assertEqual(self.turn(), [])
        self.assertEqual(len(self.turn()), 1)
        self.assertEqual(self.reports, [])

    async def test_without_descriptors_it_tries_twice_a_second_and_loses_nobody(self) -> None:
        self.assertEqual(ACCEPT_RETRY_DELAY, 0.5)
        self.knock()
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            error = OSError(number, "none left")
            with (
                mock.patch.object(socket.socket, "accept", side_effect=error) as accept,
                mock.patch.object(listener_module, "ACCEPT_RETRY_DELAY", 0),
                mock.patch.object(logger, "warning"),
            ):
                self.turn()
                self.turn()
                self.assertEqual(accept.call_count, 1)
                await turn_loop()
                self.turn()
                self.assertEqual(accept.call_count, 2)
                await turn_loop()
        self.assertEqual(len(self.turn()), 1)
        self.assertEqual(self.reports, [])

    async def test_without_descriptors_the_server_logs_one_line_a_second(self) -> None:
        first = self.listener
        self.listen(socket.create_server(("127.0.0.1", 0)))
        error = OSError(errno.EMFILE, "Too many open files")
        loop = asyncio.get_running_loop()
        now = loop.time()
        with self.assertLogs("wsbridge", "WARNING") as logs:
            for seconds in (0, 0.5, 0.99, 1, 1.5, 2.5):
                for listener in (first, self.listener):
                    with mock.patch.object(loop, "time", return_value=now + seconds):
                        listener.handle_error(error)
        line = "WARNING:wsbridge:cannot accept connections for now: [Errno 24] Too many open files"
        self.assertEqual(logs.output, [line] * 3)

    async def test_any_other_error_is_reported_and_the_next_one_is_accepted(self) -> None:
        for error in (OSError(errno.EPROTO, "Protocol error"), ValueError("no socket")):
            self.knock()
            with mock.patch.object(socket.socket, "accept", side_effect=error):
                self.turn()
            self.assertEqual(
                self.reports.pop(), {"message": "cannot accept a connection", "exception": error}
            )
            self.assertEqual(len(self.turn()), 1)
            self.service.cut()
            await turn_loop()

    async def test_connection_has_the_context_of_who_listens(self) -> None:
        NAME.set("listener")
        self.listen(socket.create_server(("127.0.0.1", 0)))
        NAME.set("somebody else")
        self.knock()
        [transport] = self.turn()
        self.assertEqual(transport.context.run(NAME.get), "listener")

    async def test_closed_it_accepts_nobody(self) -> None:
        self.knock()
        self.listener.close()
        self.listener.close()
        self.assertEqual(self.turn(), [])
        with self.assertRaises(ConnectionRefusedError):
            self.knock()

    async def test_closed_before_the_next_attempt_it_makes_none(self) -> None:
        no_delay = mock.patch.object(listener_module, "ACCEPT_RETRY_DELAY", 0)
        with no_delay, self.assertLogs("wsbridge", "WARNING"):
            self.listener.handle_error(OSError(errno.ENFILE, "Too many open files in system"))
        self.listener.close()
        await turn_loop()
        self.assertEqual(self.turn(), [])


if __name__ == "__main__":
    unittest.main()
