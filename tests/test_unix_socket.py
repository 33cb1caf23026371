"""Paths of unix sockets: live, dead, of another kind; permissions; two servers at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List
from unittest import mock

from wsbridge.protocols.errors import ConfigError
from wsbridge.server.listening.unix_socket import identify, listen_on_path, remove_path

fcntl: Any
try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX")
NO_UNIX_SOCKETS = "this system has no unix sockets"


class PathCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.fspath(Path(folder.name) / "ws.sock")

    def listen(self, path: Any = None, mode: int = 0o666) -> socket.socket:
        listening = listen_on_path(self.path if path is None else path, mode, 10)
        self.addCleanup(listening.close)
        return listening

    def knock(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect(self.path)
        return client

    def assert_in_use(self, text: str = "is already in use") -> None:
        with self.assertRaises(OSError) as caught:
            self.listen()
        self.assertEqual(
            (caught.exception.errno, caught.exception.strerror),
            (errno.EADDRINUSE, f"Address {self.path!r} {text}"),
        )


@unittest.skipUnless(HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS)
class TakingTests(PathCase):
    def test_new_path(self) -> None:
        listening = self.listen()
        self.assertEqual(listening.getsockname(), self.path)
        self.knock()
        listening.accept()[0].close()

    def test_path_in_the_working_directory(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(os.path.dirname(self.path))
        self.listen("ws.sock")
        self.knock()

    def test_live_server_keeps_it(self) -> None:
        listening = self.listen()
        self.assert_in_use()
        self.knock()
        self.assertEqual(listening.getsockname(), self.path)

    def test_live_server_that_nobody_can_reach_keeps_it(self) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(0)
            # Its queue is full.
            with self.assertRaises(BlockingIOError):
                for _ in range(10):
                    self.knock()
            self.assert_in_use()

    def test_socket_of_another_kind_stays(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(self.path)
            self.assert_in_use()
        self.assertTrue(os.path.exists(self.path))

    def test_what_a_killed_server_left_is_replaced(self) -> None:
        self.listen().close()
        self.assertTrue(os.path.exists(self.path))
        self.listen()
        self.knock()

    def test_file_stays(self) -> None:
        Path(self.path).write_text("mine")
        self.assert_in_use("is a file that is no socket: it stays as it is")
        self.assertEqual(Path(self.path).read_text(), "mine")

    def test_folder_stays(self) -> None:
        os.mkdir(self.path)
        self.assert_in_use("is a file that is no socket: it stays as it is")

    def test_folder_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, "No such file or directory"):
            self.listen(os.path.join(self.path, "ws.sock"))

    def test_path_that_is_too_long(self) -> None:
        with self.assertRaisesRegex(OSError, "path too long"):
            self.listen(self.path + "x" * 200)

    def test_empty_path_is_a_config_error(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^uds is empty: it must be a path$"):
            self.listen("")

    @unittest.skipUnless(sys.platform == "linux", "only Linux has sockets without a file")
    def test_socket_without_a_file(self) -> None:
        path = f"\0wsbridge-{os.getpid()}"
        self.listen(path)
        self.assertIsNone(identify(path))
        with self.assertRaises(OSError):
            self.listen(path)

    def test_of_many_that_want_a_dead_path_one_has_it(self) -> None:
        def try_to_listen(_: int) -> Any:
            with contextlib.suppress(OSError):
                return self.listen()

        with ThreadPoolExecutor(5) as pool:
            for _ in range(3):
                self.listen().close()
                (listening,) = filter(None, pool.map(try_to_listen, range(5)))
                self.knock()
                listening.close()


@unittest.skipUnless(HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS)
class LockTests(PathCase):
    """Between the look at a path and its taking nobody else of ours looks."""

    def lock(self) -> int:
        descriptor = os.open(os.path.dirname(self.path), os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor

    def test_another_server_is_waited_for(self) -> None:
        descriptors = [self.lock()]

        def unlock(seconds: float) -> None:
            self.assertFalse(os.path.exists(self.path))
            os.close(descriptors.pop())

        with mock.patch.object(time, "sleep", unlock):
            self.listen()
        self.assertEqual(descriptors, [])
        self.knock()

    def test_somebody_who_keeps_the_lock_is_not_waited_for_without_end(self) -> None:
        descriptor = self.lock()
        self.addCleanup(os.close, descriptor)
        with mock.patch.object(time, "sleep") as sleep:
            self.listen()
        waited = sum(call.args[0] for call in sleep.call_args_list)
        self.assertAlmostEqual(waited, 0.1)
        self.knock()

    def test_lock_is_given_back(self) -> None:
        self.listen()
        os.close(self.lock())

    def test_folder_that_cannot_be_locked_is_used_all_the_same(self) -> None:
        for name in ("flock", "open"):
            with mock.patch.object(fcntl if name == "flock" else os, name, side_effect=PermissionError()):
                self.listen().close()


@unittest.skipUnless(HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS)
class ModeTests(PathCase):
    def read_mode(self) -> int:
        return stat.S_IMODE(os.stat(self.path).st_mode)

    def test_mode_is_the_one_asked_for_whatever_the_umask(self) -> None:
        for umask in (0o022, 0o077, 0):
            self.addCleanup(os.umask, os.umask(umask))
            for mode in (0o666, 0o600, 0o660, 0, 0o777):
                self.listen(mode=mode).close()
                self.assertEqual(self.read_mode(), mode)
                os.unlink(self.path)

    def test_nobody_can_connect_before_it_is_set(self) -> None:
        tried: List[Any] = []
        chmod = os.chmod

        def try_and_chmod(path: str, mode: int) -> None:
            with self.assertRaises(ConnectionRefusedError):
                self.knock()
            tried.append(mode)
            chmod(path, mode)

        with mock.patch.object(os, "chmod", try_and_chmod):
            self.listen(mode=0o600)
        self.assertEqual(tried, [0o600])


class RemovingTests(PathCase):
    def test_path_that_is_still_ours_is_removed(self) -> None:
        Path(self.path).write_text("")
        remove_path(self.path, identify(self.path))
        self.assertFalse(os.path.exists(self.path))

    def test_path_that_is_not_there_is_no_error(self) -> None:
        self.assertIsNone(identify(self.path))
        remove_path(self.path, None)
        remove_path(self.path, (1, 2))

    def test_path_that_is_another_by_now_stays(self) -> None:
        Path(self.path).write_text("")
        for identity in ((1, 2), None):
            remove_path(self.path, identity)
        self.assertTrue(os.path.exists(self.path))


class WithoutUnixSocketsTests(PathCase):
    def test_it_is_a_config_error(self) -> None:
        with mock.patch.object(socket, "AF_UNIX", create=True):
            del socket.AF_UNIX
            with self.assertRaisesRegex(ConfigError, "^uds is set, but this system has no unix sockets$"):
                self.listen()


if __name__ == "__main__":
    unittest.main()
