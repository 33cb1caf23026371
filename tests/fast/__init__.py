"""The tests of `wsbridge.server.fast`; they are skipped where that folder was deleted."""

from __future__ import annotations

import unittest

from tests.doubles import HAS_FAST

if not HAS_FAST:
    raise unittest.SkipTest("wsbridge/server/fast is not there")
