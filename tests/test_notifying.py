"""What systemd is told, on real sockets."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import unittest
from unittest import mock

from wsbridge.server.listening.notifying import READY, STOPPING, notify, notify_reloading


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "no unix sockets")
class NotifyTests(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "notify")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)
        self.systemd.setblocking(False)
        self.set_address(self.path)

    def set_address(self, address: str) -> None:
        environ = mock.patch.dict(os.environ, {"NOTIFY_SOCKET": address})
        environ.start()
        self.addCleanup(environ.stop)

    def test_states(self) -> None:
        self.systemd.bind(self.path)
        notify(READY)
        notify(STOPPING)
        self.assertEqual(self.systemd.recv(100), b"READY=1")
        self.assertEqual(self.systemd.recv(100), b"STOPPING=1")

    def test_reloading_has_the_time(self) -> None:
        self.systemd.bind(self.path)
        with mock.patch("time.monotonic_ns", return_value=5_000_999):
            notify_reloading()
        self.assertEqual(self.systemd.recv(100), b"RELOADING=1\nMONOTONIC_USEC=5000")

    @unittest.skipUnless(sys.platform.startswith("linux"), "only Linux has abstract sockets")
    def test_abstract_socket(self) -> None:
        self.systemd.bind(f"\0wsbridge-notify-{os.getpid()}")
        self.set_address(f"@wsbridge-notify-{os.getpid()}")
        notify(READY)
        self.assertEqual(self.systemd.recv(100), b"READY=1")

    def test_nobody_to_tell_is_no_error(self) -> None:
        self.set_address("")
        notify(READY)
        del os.environ["NOTIFY_SOCKET"]
        notify(READY)

    def test_address_at_which_nobody_is_costs_a_warning(self) -> None:
        for address in (self.path, "a\0b"):
            with (
                mock.patch.object(os, "environ", {"NOTIFY_SOCKET": address}),
                self.assertLogs("wsbridge", "WARNING") as logs,
            ):
                notify(READY)
            self.assertRegex(logs.records[0].getMessage(), "^cannot tell systemd READY=1 at NOTIFY_SOCKET=")


if __name__ == "__main__":
    unittest.main()
