"""Whose application has raised what came out of the loop."""

from __future__ import annotations

import asyncio
import contextvars
import unittest
from typing import Any, List

from wsbridge.server.connection.attribution import claim, find_exchange


class AttributionTests(unittest.TestCase):
    def setUp(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.exchange: Any = object()
        self.claim: List[Any] = []

    def claimed(self) -> contextvars.Context:
        """A context in which `exchange` is claimed."""
        context = contextvars.copy_context()
        self.claim = context.run(claim, self.exchange)
        return context

    def raised(self, context: contextvars.Context) -> BaseException:
        """What comes out of the loop where a callback exits in ``context``."""

        def exit_() -> None:
            raise SystemExit(3)

        self.loop.call_soon(exit_, context=context)
        # Not assertRaises, which drops the traceback.
        try:
            self.loop.run_forever()
        except SystemExit as error:
            return error
        raise AssertionError("nothing came out of the loop")

    def test_callback_is_its_contexts(self) -> None:
        self.assertIs(find_exchange(self.raised(self.claimed())), self.exchange)

    def test_copy_of_the_context_is_too(self) -> None:
        context = self.claimed().run(contextvars.copy_context)
        self.assertIs(find_exchange(self.raised(context)), self.exchange)

    def test_context_in_which_nothing_is_claimed_is_nobodys(self) -> None:
        self.claimed()
        self.assertIsNone(find_exchange(self.raised(contextvars.copy_context())))

    def test_claim_that_was_cleared_is_nobodys(self) -> None:
        context = self.claimed()
        self.claim.clear()
        self.assertIsNone(find_exchange(self.raised(context)))

    def test_error_that_came_out_of_no_loop_is_nobodys(self) -> None:
        self.assertIsNone(find_exchange(SystemExit(3)))
        try:
            raise SystemExit(3)
        except SystemExit as error:
            self.assertIsNone(find_exchange(error))


if __name__ == "__main__":
    unittest.main()
