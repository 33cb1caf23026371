"""What transports are asked for: how much at once, to pause, and to read on."""

from __future__ import annotations

import asyncio
import unittest
from unittest import mock

from tests.doubles import MemoryTransport
from wsbridge.server.connection.reading import get_unsent_size, limit_reads, pause_reading, resume_reading


class ReadingTests(unittest.TestCase):
    def test_asyncios_own_transports_read_less_than_malloc_maps(self) -> None:
        transport = mock.Mock(max_size=256 * 1024)
        limit_reads(transport)
        self.assertEqual(transport.max_size, 122_880)

    def test_another_transport_is_left_alone(self) -> None:
        transport = MemoryTransport()
        limit_reads(transport)
        self.assertFalse(hasattr(transport, "max_size"))

    def test_transport_that_reads_less_keeps_its_size(self) -> None:
        transport = mock.Mock(max_size=4096)
        limit_reads(transport)
        self.assertEqual(transport.max_size, 4096)

    def test_reading_pauses_and_goes_on(self) -> None:
        transport = MemoryTransport()
        pause_reading(transport)
        resume_reading(transport)
        self.assertEqual(transport.calls, ["pause_reading", "resume_reading"])

    def test_tls_transport_that_was_just_closed_has_nothing_to_read_from(self) -> None:
        transport = mock.create_autospec(asyncio.Transport, instance=True)
        for method in (transport.pause_reading, transport.resume_reading):
            method.side_effect = AttributeError("'NoneType' object has no attribute")
        pause_reading(transport)
        resume_reading(transport)
        transport.pause_reading.assert_called_once_with()
        transport.resume_reading.assert_called_once_with()

    def test_tls_transport_that_was_just_closed_has_nothing_unsent(self) -> None:
        transport = mock.create_autospec(asyncio.Transport, instance=True)
        transport.get_write_buffer_size.return_value = 5
        self.assertEqual(get_unsent_size(transport), 5)
        transport.get_write_buffer_size.side_effect = AttributeError("'NoneType' object has no attribute")
        self.assertEqual(get_unsent_size(transport), 0)


if __name__ == "__main__":
    unittest.main()
