"""`Budget`: who has to wait, who is given up, and when those who wait read on."""

from __future__ import annotations

import unittest
from typing import Any, Callable, List, Optional

from tests.doubles import Clock
from wsbridge.server.budget import Budget

KIB = 1024
STEP = 64 * KIB
LIMIT = 10 * STEP


class Client:
    """A connection of the size that the test says."""

    def __init__(self, budget: Budget, *, is_unfinished: bool = True) -> None:
        self.budget = budget
        self.held_size = 0
        self.give_up: Optional[Callable[[], None]] = self.drop if is_unfinished else None
        # What is left of it when it is given up, and whether it has ended then.
        self.queued = 0
        self.ends = False
        self.told: List[str] = []

    def drop(self) -> None:
        self.told.append("give up")
        self.held_size = self.queued
        self.give_up = None
        if self.ends:
            self.budget.forget(self)

    def read_on(self) -> None:
        self.told.append("read on")

    def hold(self, steps: float) -> bool:
        self.held_size = int(steps * STEP)
        return self.budget.hold(self, self.held_size)


class BudgetTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.set_up()

    def set_up(self, limit: int = LIMIT, largest: int = STEP) -> None:
        self.budget = Budget(limit, largest, self.clock)

    def open(self, *steps: float, **options: Any) -> List[Client]:
        clients = [Client(self.budget, **options) for _ in steps]
        for client, size in zip(clients, steps):
            self.assertTrue(client.hold(size))
        return clients

    def assert_given_up(self, *clients: Client) -> None:
        for client in clients:
            self.assertEqual(client.told, ["give up"])

    def assert_untold(self, *clients: Client) -> None:
        for client in clients:
            self.assertEqual(client.told, [])


class SizeTests(BudgetTestCase):
    def test_sizes_are_added_up_and_replaced(self) -> None:
        first, second = self.open(2, 3)
        first.hold(1)
        self.assertEqual(self.budget.size, 4 * STEP)
        self.budget.forget(second)
        self.budget.forget(second)
        self.assertEqual(self.budget.size, STEP)

    def test_room_is_that_of_one_step_more(self) -> None:
        self.open(5)
        client = Client(self.budget)
        self.assertTrue(client.hold(4))
        self.assertFalse(client.hold(4.5))

    def test_largest_message_passes_whatever_the_limit_is(self) -> None:
        """And the 64 KiB that its connection may hold unparsed."""
        self.set_up(1, 19 * STEP)
        (client,) = self.open(1)
        for steps in range(2, 21):
            self.assertTrue(client.hold(steps))
        self.assertFalse(client.hold(21))

    def test_what_was_taken_is_found_when_room_is_needed(self) -> None:
        taken, shrunk, grown = self.open(4, 4, 1)
        taken.held_size, shrunk.held_size, grown.held_size = 0, STEP, 2 * STEP
        self.open(6)
        self.assertEqual(self.budget.size, 9 * STEP)
        self.assert_untold(taken, shrunk, grown)

    def test_and_at_every_sweep(self) -> None:
        self.budget.sweep()
        (client,) = self.open(5)
        client.held_size = 0
        self.budget.sweep()
        self.assertEqual(self.budget.size, 0)

    def test_what_waits_for_the_application_is_counted_without_waiting(self) -> None:
        client = Client(self.budget, is_unfinished=False)
        client.held_size = LIMIT
        self.assertFalse(self.budget.count(client, LIMIT))
        self.assertTrue(self.budget.may_read_on(client))
        self.budget.sweep()
        self.assert_untold(client)


class StalledTests(BudgetTestCase):
    """What makes no progress for a second, once there is no room."""

    def test_stalest_is_given_up_first(self) -> None:
        for progress in (1, 1.5):
            self.set_up()
            first, second, third = self.open(1.5, 3, 3)
            self.clock.advance(0.5)
            first.hold(1.5 + progress)
            self.clock.advance(0.5)
            self.assertTrue(Client(self.budget).hold(2))
            self.assert_given_up(second)
            self.assert_untold(first, third)

    def test_as_many_as_make_room(self) -> None:
        clients = self.open(3, 3, 3)
        self.clock.advance(1)
        self.open(5)
        self.assert_given_up(*clients[:2])
        self.assert_untold(clients[2])

    def test_what_the_application_has_not_taken_still_counts(self) -> None:
        first, second = self.open(5, 4)
        first.ends, second.queued = True, 3 * STEP
        first.queued = STEP
        self.clock.advance(1000)
        client = Client(self.budget)
        self.assertTrue(client.hold(4))
        self.assertEqual(self.budget.size, 8 * STEP)
        self.assertTrue(client.hold(6))
        self.assertFalse(client.hold(7))
        self.assert_given_up(first, second)
        self.assertEqual(self.budget.size, 10 * STEP)

    def test_nobody_is_while_there_is_room(self) -> None:
        clients = self.open(3, 3, 3)
        self.clock.advance(100)
        self.budget.sweep()
        self.assert_untold(*clients)

    def test_nobody_is_within_the_second(self) -> None:
        clients = self.open(3, 3, 3)
        self.clock.advance(0.9)
        self.assertFalse(Client(self.budget).hold(2))
        self.assert_untold(*clients)

    def test_less_than_64_kib_is_no_progress(self) -> None:
        for progress in (0, 0.2):
            self.set_up()
            slow, fast = self.open(3, 4)
            for _ in range(4):
                self.clock.advance(0.25)
                self.assertTrue(slow.hold(slow.held_size / STEP + progress))
            self.assertTrue(fast.hold(6.5))
            self.assert_given_up(slow)
            self.assert_untold(fast)

    def test_new_message_is_progress(self) -> None:
        slow, other = self.open(4, 4)
        self.clock.advance(1)
        slow.hold(2)
        self.open(5)
        self.assert_given_up(other)
        self.assert_untold(slow)

    def test_what_waits_for_the_application_is_not(self) -> None:
        (queued,) = self.open(9, is_unfinished=False)
        self.clock.advance(10)
        self.assertFalse(Client(self.budget).hold(1))
        self.assert_untold(queued)

    def test_the_one_that_goes_on_is_not(self) -> None:
        (client,) = self.open(9)
        self.clock.advance(10)
        self.assertFalse(client.hold(9.5))
        self.assert_untold(client)


class WaitingTests(BudgetTestCase):
    def test_those_who_wait_read_on_when_there_is_room(self) -> None:
        (queued,) = self.open(9, is_unfinished=False)
        waiting = Client(self.budget)
        self.assertFalse(waiting.hold(2))
        self.budget.sweep()
        self.assert_untold(waiting)
        queued.held_size = 7 * STEP
        self.budget.sweep()
        self.budget.sweep()
        self.assertEqual(waiting.told, ["read on"])

    def test_one_that_ends_while_another_reads_on_does_not(self) -> None:
        (queued,) = self.open(9, is_unfinished=False)
        first, second = Client(self.budget), Client(self.budget)
        first.hold(1)
        second.hold(1)
        first.read_on = lambda: self.budget.forget(second)  # type: ignore[method-assign]
        queued.held_size = 0
        self.budget.sweep()
        self.assert_untold(second)

    def test_as_many_as_can_finish(self) -> None:
        self.set_up(largest=4 * STEP)
        (queued,) = self.open(9, is_unfinished=False)
        waiting = [Client(self.budget) for _ in range(3)]
        for client in waiting:
            client.hold(1.5)
        queued.held_size = int(1.5 * STEP)
        self.budget.sweep()
        self.assertEqual([client.told for client in waiting], [["read on"], ["read on"], []])

    def test_wait_ends_with_room(self) -> None:
        (queued,) = self.open(9, is_unfinished=False)
        waiting = Client(self.budget)
        waiting.hold(2)
        self.assertFalse(self.budget.may_read_on(waiting))
        queued.held_size = 0
        self.assertTrue(self.budget.may_read_on(waiting))
        self.budget.sweep()
        self.assert_untold(waiting)

    def test_who_holds_nothing_any_more_does_not_wait(self) -> None:
        self.open(9, is_unfinished=False)
        waiting = Client(self.budget)
        waiting.hold(2)
        waiting.held_size = 0
        self.assertTrue(self.budget.may_read_on(waiting))

    def test_sweep_gives_up_what_stalls_for_those_who_wait(self) -> None:
        stalled = self.open(4, 4)
        waiting = Client(self.budget)
        self.assertFalse(waiting.hold(1.5))
        self.clock.advance(1)
        self.budget.sweep()
        self.assert_given_up(stalled[0])
        self.assert_untold(stalled[1])
        self.assertEqual(waiting.told, ["read on"])

    def test_those_who_only_wait_are_not_given_up(self) -> None:
        self.open(8, is_unfinished=False)
        waiting = [Client(self.budget), Client(self.budget)]
        for client in waiting:
            client.hold(2.5)
        self.clock.advance(10)
        self.budget.sweep()
        self.assert_untold(*waiting)

    def test_unless_they_have_more_than_half_of_the_memory(self) -> None:
        self.open(8, is_unfinished=False)
        waiting = [Client(self.budget), Client(self.budget)]
        for client in waiting:
            client.hold(2.6)
        self.budget.sweep()
        self.assert_given_up(waiting[0])
        self.assert_untold(waiting[1])

    def test_first_of_those_who_wait_for_each_other_is_given_up(self) -> None:
        clients = self.open(3, 3, 3)
        for client in clients:
            self.assertFalse(client.hold(3.4))
        self.budget.sweep()
        self.assert_given_up(clients[0])
        self.assertEqual([client.told for client in clients[1:]], [["read on"]] * 2)


if __name__ == "__main__":
    unittest.main()
