"""`Listener`: who comes is accepted, and an error costs a second and no connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import unittest
from typing import Any, Dict, List, Tuple
from unittest import mock

from tests.doubles import ManualApp, turn_loop
from tests.loopback import LoopbackCase
from tests.skipping import pass_time, run_skipping
from tests.test_hostile import is_open
from wsbridge.config import ServerConfig
from wsbridge.server.logs.log import logger
from wsbridge.server.service import Service

from .test_poller import HAS_EPOLL, NAME, NO_EPOLL

if HAS_EPOLL:
    from wsbridge.server.fast.listener import ACCEPTS_IN_A_ROW, Listener
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
        self.app = ManualApp()
        self.service = Service(self.app, ServerConfig())
        self.addAsyncCleanup(turn_loop)
        self.addCleanup(self.service.abort)
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

    def turn(self) -> int:
        """How many connections there are after one look at what is ready."""
        self.assertEqual(self.poller.select(0), [])
        return len(self.service.members)

    async def ask(self) -> socket.socket:
        """A client that asks for a page; what it asked for stands in the application's scope."""
        client = self.knock()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.turn()
        self.turn()
        await turn_loop()
        return client

    def find_peer(self, client: socket.socket) -> socket.socket:
        """A duplicate of the socket at the other end of the client's connection."""
        for descriptor in filter(is_open, range(256)):
            is_blocking = os.get_blocking(descriptor)
            with contextlib.suppress(OSError):
                found = socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM)
                # On PyPy `fromfd` makes both block.
                os.set_blocking(descriptor, is_blocking)
                self.addCleanup(found.close)
                if found.getpeername() == client.getsockname():
                    return found
        raise AssertionError("nobody has accepted the client")

    async def test_who_comes_is_accepted(self) -> None:
        self.assertEqual(self.turn(), 0)
        self.knock()
        self.assertEqual(self.turn(), 1)

    async def test_application_knows_both_ends(self) -> None:
        client = await self.ask()
        self.assertEqual(self.app.scope["client"], client.getsockname())
        self.assertEqual(self.app.scope["server"], self.address)

    async def test_accepted_socket_neither_blocks_nor_delays(self) -> None:
        accepted = self.find_peer(await self.ask())
        self.assertFalse(os.get_blocking(accepted.fileno()))
        self.assertEqual(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)

    async def test_unix_socket(self) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(self.make_folder() / "ws.sock"))
        listening.listen()
        self.listen(listening)
        await self.ask()
        self.assertEqual(self.app.scope["server"], (self.address, None))

    async def test_many_are_accepted_in_more_than_one_turn(self) -> None:
        for _ in range(ACCEPTS_IN_A_ROW + 1):
            self.knock()
        self.assertEqual(self.turn(), ACCEPTS_IN_A_ROW)
        self.assertEqual(self.turn(), ACCEPTS_IN_A_ROW + 1)

    async def test_who_has_left_meanwhile_is_no_error(self) -> None:
        self.knock()
        with mock.patch.object(socket.socket, "_accept", side_effect=ConnectionAbortedError()):
            self.assertEqual(self.turn(), 0)
        self.assertEqual(self.turn(), 1)
        self.assertEqual(self.reports, [])

    async def test_any_other_error_is_reported_and_the_next_one_is_accepted(self) -> None:
        for error in (OSError(errno.EPROTO, "Protocol error"), ValueError("no socket")):
            self.knock()
            with mock.patch.object(socket.socket, "_accept", side_effect=error):
                self.turn()
            self.assertEqual(
                self.reports.pop(), {"message": "cannot accept a connection", "exception": error}
            )
            self.assertEqual(self.turn(), 1)
            self.service.abort()
            await turn_loop()

    async def test_connection_has_the_context_of_who_listens(self) -> None:
        found: List[str] = []

        async def app(*arguments: Any) -> None:
            found.append(NAME.get())

        self.service.app = app
        NAME.set("listener")
        self.listen(socket.create_server(("127.0.0.1", 0)))
        NAME.set("somebody else")
        with self.assertLogs(logger, "ERROR"):
            # It returns without an answer.
            await self.ask()
        self.assertEqual(found, ["listener"])

    async def test_closed_it_accepts_nobody(self) -> None:
        self.knock()
        self.listener.close()
        self.listener.close()
        self.assertEqual(self.turn(), 0)
        with self.assertRaises(ConnectionRefusedError):
            self.knock()


@unittest.skipUnless(HAS_EPOLL, NO_EPOLL)
class ExhaustionTests(unittest.TestCase):
    """No descriptor or no memory is left, in a loop that does not wait."""

    def setUp(self) -> None:
        self.poller = Poller()
        self.addCleanup(self.poller.close)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        client = socket.create_connection(self.listening.getsockname())
        self.addCleanup(client.close)

    def listen(self, service: Service) -> Listener:
        listener = Listener(self.poller, service, self.listening)
        self.addCleanup(listener.close)
        return listener

    def run_for(self, seconds: float, listeners: int = 1) -> Tuple[int, List[str]]:
        """Look at what is ready every 0.1 s; how many were accepted, and what was logged."""

        async def turn() -> int:
            service = Service(ManualApp(), ServerConfig())
            listening = [self.listen(service) for _ in range(listeners)]
            for _ in range(round(10 * seconds)):
                self.poller.select(0)
                await pass_time(0.1)
            for listener in listening:
                listener.close()
            accepted = len(service.members)
            service.abort()
            await turn_loop()
            return accepted

        with self.assertLogs("wsbridge", "WARNING") as logs:
            logger.warning("the end")
            return run_skipping(turn())[0], logs.output[1:]

    def test_it_tries_twice_a_second(self) -> None:
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            with mock.patch.object(socket.socket, "_accept", side_effect=OSError(number, "none")) as accept:
                self.run_for(2.9)
            self.assertEqual(accept.call_count, 6)

    def test_who_waits_is_accepted_when_there_is_room(self) -> None:
        accept = socket.socket._accept  # type: ignore[attr-defined]
        failures = [OSError(errno.EMFILE, "none")] * 2

        def accept_later(listening: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return accept(listening)

        with mock.patch.object(socket.socket, "_accept", accept_later):
            self.assertEqual(self.run_for(2)[0], 1)

    def test_server_logs_one_line_a_second_for_all_its_sockets(self) -> None:
        error = OSError(errno.EMFILE, "Too many open files")
        with mock.patch.object(socket.socket, "_accept", side_effect=error):
            _, lines = self.run_for(2.9, listeners=2)
        line = "WARNING:wsbridge.error:cannot accept connections for now: [Errno 24] Too many open files"
        self.assertEqual(lines, [line] * 3)

    def test_closed_before_the_next_attempt_it_makes_none(self) -> None:
        reports: List[Dict[str, Any]] = []

        async def close() -> int:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
            service = Service(ManualApp(), ServerConfig())
            listener = self.listen(service)
            listener.handle_error(OSError(errno.ENFILE, "Too many open files in system"))
            listener.close()
            await pass_time(1)
            self.poller.select(0)
            return len(service.members)

        with self.assertLogs("wsbridge", "WARNING"):
            self.assertEqual(run_skipping(close())[0], 0)
        self.assertEqual(reports, [])


if __name__ == "__main__":
    unittest.main()
