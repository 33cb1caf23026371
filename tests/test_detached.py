"""The applications that go on after their disconnect: how many, and when that is a reason to warn."""

from __future__ import annotations

import unittest
from typing import Any
from unittest import mock

from wsbridge.server.detached import Detached


def add(detached: Detached, count: int, since: float) -> None:
    for _ in range(count):
        member: Any = mock.Mock()
        detached[member] = since


class DetachedTests(unittest.TestCase):
    def test_only_those_that_go_on_for_a_second_count(self) -> None:
        detached = Detached()
        add(detached, 2, since=10.0)
        add(detached, 3, since=10.5)
        self.assertEqual([detached.count_long(now) for now in (10.9, 11.0, 11.5)], [0, 2, 5])

    def test_warning_at_64_and_whenever_the_number_has_doubled(self) -> None:
        detached = Detached()
        found = []
        for count in (63, 1, 63, 1):
            add(detached, count, since=10.0)
            found.append(detached.find_excess(now=11.0))
        self.assertEqual(found, [None, 64, None, 128])

    def test_those_that_have_just_begun_are_no_reason_to_warn(self) -> None:
        detached = Detached()
        add(detached, 100, since=10.0)
        self.assertEqual([detached.find_excess(now) for now in (10.5, 11.0)], [None, 100])
