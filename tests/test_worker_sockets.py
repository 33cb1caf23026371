"""The listening sockets of workers: who opens them, who has which, who closes them."""

from __future__ import annotations

import os
import socket
import tempfile
import unittest

from wsbridge.config import ServerConfig
from wsbridge.server.worker_sockets import WorkerSockets


class SocketTests(unittest.TestCase):
    def test_all_workers_have_one_port(self) -> None:
        with WorkerSockets(ServerConfig(port=0, workers=2)) as sockets:
            opened = sockets.open_for_worker() + sockets.open_for_worker()
            ports = {each.getsockname()[1] for each in opened}
            self.assertEqual(len(ports), 1)
            self.assertEqual(sockets.build_urls("https"), [f"https://127.0.0.1:{ports.pop()}"])
        self.assertEqual({each.fileno() for each in opened}, {-1})

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
