"""How a waiting application goes on: inside the loop's next turn, or inside the read."""

from __future__ import annotations

import asyncio
import contextvars
import unittest
from typing import Any, Callable, List
from unittest import mock

from tests.doubles import turn_loop
from wsbridge.server.fast.waking import CollectingWaker, choose_resume_task, resume_task
from wsbridge.server.plain import ResumeTask

NAME = contextvars.ContextVar("NAME", default="nobody")


class Waiting:
    """Notes that it was resumed; ``then`` is what it does on it."""

    def __init__(self, name: str, resumed: List[str], then: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.resumed = resumed
        self.then = then

    def resume(self, resume_task: ResumeTask) -> None:
        self.resumed.append(self.name)
        self.then()

    def resume_later(self) -> None:
        self.resumed.append(f"{self.name} later")


class WakerTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.waker = CollectingWaker(self.loop)
        self.resumed: List[str] = []
        self.first, self.second = Waiting("first", self.resumed), Waiting("second", self.resumed)
        self.at_once: List[str] = []

    async def wake(self, *connections: Waiting) -> None:
        """In one read of the loop; `at_once` has what was resumed inside it."""

        def read() -> None:
            for connection in connections:
                self.waker.wake(connection)
            self.at_once = self.resumed[:]

        self.loop.call_soon(read)
        await turn_loop()

    async def test_another_than_the_last_is_resumed_in_the_next_turn(self) -> None:
        await self.wake(self.first)
        self.assertEqual((self.at_once, self.resumed), ([], ["first"]))
        await self.wake(self.second)
        self.assertEqual((self.at_once, self.resumed), (["first"], ["first", "second"]))

    async def test_the_last_is_resumed_at_once(self) -> None:
        await self.wake(self.first)
        await self.wake(self.first)
        self.assertEqual(self.at_once, ["first", "first"])
        self.assertEqual(self.resumed, ["first", "first"])

    async def test_the_only_one_that_is_ready_is_resumed_at_once(self) -> None:
        for ready_count in (0, 1, 2):
            self.waker = CollectingWaker(self.loop, mock.Mock(ready_count=ready_count))
            self.resumed.clear()
            await self.wake(self.first)
            self.assertEqual((self.at_once, self.resumed), (["first"] * (ready_count == 1), ["first"]))

    async def test_all_of_one_turn_share_a_callback(self) -> None:
        loop = mock.create_autospec(asyncio.BaseEventLoop, instance=True)
        waker = CollectingWaker(loop)
        waker.wake(self.first)
        waker.wake(self.second)
        [((resume_all,), _)] = loop.call_soon.call_args_list
        resume_all()
        self.assertEqual(self.resumed, ["first", "second"])

    async def test_one_that_is_over_is_forgotten(self) -> None:
        await self.wake(self.first)
        self.waker.forget(self.second)
        await self.wake(self.first)
        self.assertEqual(self.at_once, ["first", "first"])
        self.waker.forget(self.first)
        await self.wake(self.first)
        self.assertEqual((self.at_once, self.resumed), (["first"] * 2, ["first"] * 3))

    async def test_one_that_ends_the_process_keeps_nobody_from_its_turn(self) -> None:
        loop = mock.create_autospec(asyncio.BaseEventLoop, instance=True)
        waker = CollectingWaker(loop)

        def stop() -> None:
            raise SystemExit(3)

        waker.wake(Waiting("last", self.resumed, then=stop))
        waker.wake(self.second)
        (((resume_all,), _),) = loop.call_soon.call_args_list
        with self.assertRaises(SystemExit):
            resume_all()
        self.assertEqual(self.resumed, ["last"])
        self.assertEqual(loop.call_soon.call_args_list[1:], [mock.call(self.second.resume, resume_task)])
        waker.wake(self.first)
        self.assertEqual(loop.call_soon.call_count, 3)


class ResumeTaskTests(unittest.IsolatedAsyncioTestCase):
    """Called from the loop, where no task runs."""

    async def asyncSetUp(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.seen: List[Any] = []

    async def start(self, name: str) -> asyncio.Task[None]:
        async def wait() -> None:
            NAME.set(name)
            try:
                await self.future
            finally:
                self.seen.append((NAME.get(), asyncio.current_task() is task))

        task = self.loop.create_task(wait())
        await turn_loop()
        return task

    async def resume(self) -> None:
        def read() -> None:
            resume_task(self.future)
            self.seen.append((NAME.get(), self.future.done()))

        self.loop.call_soon(read)
        await turn_loop()

    async def test_task_goes_on_inside_in_its_own_context(self) -> None:
        task = await self.start("waiter")
        await self.resume()
        self.assertEqual(self.seen, [("waiter", True), ("nobody", True)])
        self.assertTrue(task.done())

    async def test_several_go_on_in_the_next_turn(self) -> None:
        await self.start("one")
        await self.start("two")
        await self.resume()
        self.assertEqual(self.seen, [("nobody", True), ("one", True), ("two", True)])

    async def test_inside_another_task_it_goes_on_in_the_next_turn(self) -> None:
        task = await self.start("waiter")
        resume_task(self.future)
        self.assertEqual(self.seen, [])
        await turn_loop()
        self.assertEqual(self.seen, [("waiter", True)])
        self.assertTrue(task.done())

    async def test_nobody_waits(self) -> None:
        await self.resume()
        self.assertEqual(self.seen, [("nobody", True)])

    async def test_task_whose_context_is_entered_already_goes_on_in_the_next_turn(self) -> None:
        context = contextvars.copy_context()
        self.future.add_done_callback(lambda _: self.seen.append("resumed"), context=context)

        def read() -> None:
            resume_task(self.future)
            self.seen.append("read")

        self.loop.call_soon(read, context=context)
        await turn_loop()
        self.assertEqual(self.seen, ["read", "resumed"])

    async def test_wish_to_end_the_process_leaves_the_loop_in_the_next_turn_and_not_the_read(self) -> None:
        for error in (SystemExit(3), KeyboardInterrupt()):
            loop = mock.create_autospec(asyncio.BaseEventLoop, instance=True)
            future: asyncio.Future[None] = asyncio.Future(loop=loop)
            future.add_done_callback(mock.Mock(side_effect=error))
            resume_task(future)
            (((raise_, raised), _),) = loop.call_soon.call_args_list
            with self.assertRaises(type(error)):
                raise_(raised)
            self.assertIs(raised, error)


class ChoiceTests(unittest.IsolatedAsyncioTestCase):
    """What the futures of this Python are relied on for is looked at once."""

    async def assert_task_goes_on_in_the_next_turn(self, future_type: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(asyncio.wait_for(future, None))
        await turn_loop()
        asyncio.get_running_loop().call_soon(choose_resume_task(future_type), future)
        await asyncio.sleep(0)
        self.assertFalse(waiting.done())
        await turn_loop()
        self.assertTrue(waiting.done())

    def test_futures_of_this_python_are_known(self) -> None:
        self.assertIs(choose_resume_task(asyncio.Future), resume_task)
        self.assertIsNot(choose_resume_task(Hiding), resume_task)

    async def test_future_that_does_not_list_its_callbacks(self) -> None:
        await self.assert_task_goes_on_in_the_next_turn(Hiding)

    async def test_future_that_lists_its_callbacks_otherwise(self) -> None:
        await self.assert_task_goes_on_in_the_next_turn(Listing)


class Hiding:
    """A future that keeps its callbacks to itself."""

    def __init__(self, loop: Any) -> None: ...

    def add_done_callback(self, callback: object, context: object) -> None: ...


class Listing(Hiding):
    """A future with callbacks, but no contexts."""

    def add_done_callback(self, callback: object, context: object) -> None:
        self._callbacks = [callback]


if __name__ == "__main__":
    unittest.main()
