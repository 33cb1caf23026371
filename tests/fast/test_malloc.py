"""What malloc keeps of large messages."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from tests import PACKAGE
from tests.test_deflate import measured_memory
from wsbridge.server.fast import malloc

resource: Any
try:
    import resource
except ImportError:
    # Not on Windows.
    resource = None

# Three blocks at a time, as a message, its text and its echo; the page faults of all rounds but the first.
PROGRAM = """
import resource, sys
sys.path.insert(0, sys.argv[1])
size = int(sys.argv[3])
if sys.argv[4] == "keep":
    from importlib import import_module
    import_module(sys.argv[2] + ".server.fast.malloc").keep_freed_blocks()

def count_faults():
    blocks = [b"x" * size for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = count_faults()
for _ in range(10):
    after = count_faults()
print(after - before)
"""


class KeepFreedBlocksTests(unittest.TestCase):
    def count_faults(self, size: int, mode: str) -> int:
        root = str(Path(import_module(PACKAGE.partition(".")[0]).__path__[0]).parent)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        environment.pop("GLIBC_TUNABLES", None)
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, root, PACKAGE, str(size), mode]
        output = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, timeout=60, env=environment
        ).stdout
        return int(output)

    @unittest.skipUnless(sys.implementation.name == "cpython", "nothing is asked of this Python's malloc")
    @unittest.skipIf(resource is None, "this system does not tell page faults")
    def test_large_blocks_are_used_again_without_a_page_fault(self) -> None:
        for size in (1 << 20, malloc.KEPT_SIZE // 2):
            by_itself = self.count_faults(size, "as it is")
            if by_itself < 3000:
                self.skipTest("this malloc keeps large blocks, or gets them in large pages")
            self.assertLess(self.count_faults(size, "keep"), by_itself // 20)

    @unittest.skipUnless(sys.implementation.name == "cpython", "this Python cannot trace its memory")
    def test_one_block_is_allocated_where_that_touches_no_page(self) -> None:
        for implementation, mebibytes in (("cpython", 4), ("pypy", 0)):
            python = mock.patch.object(sys.implementation, "name", implementation)
            with python, measured_memory() as memory:
                malloc.keep_freed_blocks()
            self.assertEqual(memory.peak // (1 << 20), mebibytes)


if __name__ == "__main__":
    unittest.main()
