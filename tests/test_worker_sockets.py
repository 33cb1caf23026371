"""The listening sockets of workers: who opens them, who has which, who closes them."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import unittest
from typing import List, Set
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.server.workers import sockets as worker_sockets
from wsbridge.server.workers.sockets import SPREADS_CONNECTIONS, WorkerSockets


class SocketTests(unittest.TestCase):
    def list_ports(self, *sockets: socket.socket) -> Set[int]:
        return {each.getsockname()[1] for each in sockets}

    @unittest.skipUnless(SPREADS_CONNECTIONS, "this system does not spread connections over sockets")
    def test_each_worker_has_a_socket_of_its_own_on_one_port(self) -> None:
        with WorkerSockets(ServerConfig(port=0, workers=2)) as sockets:
            [first], [second] = sockets.open_for_worker(), sockets.open_for_worker()
            self.assertIsNot(first, second)
            [port] = self.list_ports(first, second)
            self.assertEqual(sockets.build_urls("https"), [f"https://127.0.0.1:{port}"])
            [third] = sockets.open_for_worker()
            sockets.close_those_of_worker([third])
            self.assertEqual([each.fileno() >= 0 for each in (first, second, third)], [True, True, False])
            # In the second worker.
            sockets.keep_those_of_worker([second])
            self.assertEqual([each.fileno() >= 0 for each in (first, second)], [False, True])
        self.assertEqual(second.fileno(), -1)

    def test_where_the_system_does_not_spread_them_the_socket_is_shared(self) -> None:
        shared = WorkerSockets(ServerConfig(port=0, workers=2))
        with mock.patch.object(worker_sockets, "SPREADS_CONNECTIONS", False), shared as sockets:
            first, second = sockets.open_for_worker(), sockets.open_for_worker()
            self.assertIs(first, second)
            sockets.keep_those_of_worker(first)
            sockets.close_those_of_worker(second)
            self.assertGreaterEqual(first[0].fileno(), 0)
        self.assertEqual(first[0].fileno(), -1)

    @unittest.skipUnless(SPREADS_CONNECTIONS, "this system does not spread connections over sockets")
    def test_sockets_of_systemd_are_shared(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))

        def open_sockets(config: ServerConfig) -> List[socket.socket]:
            del os.environ["LISTEN_PID"]
            return [listening]

        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, LISTEN_PID="1"))
            stack.enter_context(mock.patch.object(worker_sockets, "open_sockets", open_sockets))
            sockets = stack.enter_context(WorkerSockets(ServerConfig(workers=2)))
            self.assertEqual(sockets.open_for_worker(), [listening])

    @unittest.skipUnless(SPREADS_CONNECTIONS, "this system does not spread connections over sockets")
    def test_sockets_of_systemd_that_are_not_used_are_one_warning(self) -> None:
        systemd = mock.patch.dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        with (
            systemd,
            self.assertLogs("wsbridge", "WARNING") as logs,
            WorkerSockets(ServerConfig(port=0, workers=2)) as sockets,
        ):
            sockets.open_for_worker()
        self.assertEqual(len(logs.output), 1)

    def test_only_worker_has_the_socket_that_was_opened_first(self) -> None:
        with WorkerSockets(ServerConfig(port=0)) as sockets:
            [first], [second] = sockets.open_for_worker(), sockets.open_for_worker()
            self.assertIs(first, second)

    def test_port_of_another_program_is_an_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            [port] = self.list_ports(other)
            with self.assertRaises(OSError), WorkerSockets(ServerConfig(port=port, workers=2)):
                """Never entered."""

    def test_sockets_of_the_caller_stay_the_callers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as given:
            with WorkerSockets(ServerConfig(), [given]) as sockets:
                self.assertEqual(sockets.open_for_worker(), [given])
                self.assertEqual(sockets.build_urls("http"), [f"http://127.0.0.1:{given.getsockname()[1]}"])
            self.assertNotEqual(given.fileno(), -1)

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "this system has no unix sockets")
    def test_path_is_shared_and_removed_at_the_end(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.sock")
            with WorkerSockets(ServerConfig(uds=path, workers=2)) as sockets:
                self.assertEqual(sockets.open_for_worker(), sockets.open_for_worker())
                self.assertTrue(os.path.exists(path))
            self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
