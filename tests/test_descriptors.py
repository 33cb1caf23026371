"""Which file descriptors are kept for refusals."""

from __future__ import annotations

import socket
import sys
import unittest
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.doubles import MemoryTransport, without
from wsbridge.server.listening.descriptors import find_reserved, get_descriptor

UNLIMITED = -1


def limited(soft: int) -> Any:
    """A system on which this process may open so many files."""
    module = SimpleNamespace(
        RLIMIT_NOFILE=7, RLIM_INFINITY=UNLIMITED, getrlimit=lambda which: (soft, UNLIMITED)
    )
    return mock.patch.dict(sys.modules, {"resource": module})


class ReserveTests(unittest.TestCase):
    def test_the_last_64_are_kept(self) -> None:
        for limit, first in ((1024, 960), (1 << 20, (1 << 20) - 64), (512, 448)):
            with limited(limit):
                self.assertEqual(find_reserved(), first)

    def test_of_few_an_eighth_is(self) -> None:
        for limit, first in ((256, 224), (64, 56), (8, 7), (7, 7)):
            with limited(limit):
                self.assertEqual(find_reserved(), first)

    def test_none_are_without_a_limit(self) -> None:
        with limited(UNLIMITED):
            self.assertEqual(find_reserved(), inf)
        with without("resource"):
            self.assertEqual(find_reserved(), inf)


class DescriptorTests(unittest.TestCase):
    def test_it_is_that_of_the_socket(self) -> None:
        with socket.socket() as handle:
            self.assertEqual(get_descriptor(MemoryTransport(socket=handle)), handle.fileno())

    def test_transport_without_a_socket_has_none(self) -> None:
        self.assertEqual(get_descriptor(MemoryTransport()), -1)


if __name__ == "__main__":
    unittest.main()
