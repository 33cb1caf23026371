"""What the system's allocator keeps of large messages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import unittest
from pathlib import Path

from tests import PACKAGE

# Three blocks of 1 MiB at a time, as a message, its text and its echo; the faults of all rounds but one.
PROGRAM = """
import resource, sys
sys.path.insert(0, sys.argv[1])
if sys.argv[3] == "keep":
    from importlib import import_module
    import_module(sys.argv[2] + ".server.memory").keep_freed_blocks()

def count_faults():
    blocks = [b"x" * (1 << 20) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = count_faults()
for _ in range(10):
    after = count_faults()
print(after - before)
"""


class KeepFreedBlocksTests(unittest.TestCase):
    def count_faults(self, keep: str) -> int:
        root = str(Path(sys.modules[PACKAGE.partition(".")[0]].__path__[0]).parent)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        environment.pop("GLIBC_TUNABLES", None)
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, root, PACKAGE, keep]
        output = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, timeout=60, env=environment
        ).stdout
        return int(output)

    @unittest.skipUnless(
        sys.implementation.name == "cpython" and platform.libc_ver()[0] == "glibc",
        "another allocator than glibc's",
    )
    def test_large_blocks_are_used_again_without_a_page_fault(self) -> None:
        pages = 10 * 3 * (1 << 20) // os.sysconf("SC_PAGESIZE")
        self.assertGreater(self.count_faults("give back"), pages // 2)
        self.assertLess(self.count_faults("keep"), pages // 20)


if __name__ == "__main__":
    unittest.main()
