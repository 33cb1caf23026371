"""Masking by libcrypto: guard pages around the payload, valgrind, and other native routines.

Nothing may be read or written past the payload: it lies at the very start and at the very end of a page,
between two pages that may not be touched, in every length up to a page. Under valgrind the same payloads lie
in blocks of malloc. The routines of websockets and of numpy mask what libcrypto masks, by `masking.use`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from typing import List

from .lib.environment import ROOT, Unavailable, ensure_environment, report_folder, say_line
from .lib.report import Cell, Page

REQUIREMENTS = ["websockets==15.0.1", "numpy==2.2.6"]
VALGRIND_SECONDS = 300

_KEY = 'key = b"\\x80\\x01\\xfe\\x7f"\n'
_LOAD = """
import ctypes, os, sys
from wsbridge.protocols import libcrypto
mask = libcrypto.load()
if mask is None:
    sys.exit("this Python has no libcrypto to mask with")
"""

_GUARD_PAGES = (
    _LOAD
    + _KEY
    + """
import mmap
PAGE = mmap.PAGESIZE
pages = mmap.mmap(-1, 3 * PAGE)
address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
for page in (0, 2):
    if libc.mprotect(address + page * PAGE, PAGE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0):
        sys.exit(os.strerror(ctypes.get_errno()))
pattern = os.urandom(PAGE)
for size in range(1, PAGE + 1):
    expected = bytes(a ^ b for a, b in zip(pattern[:size], key * (size // 4 + 1)))
    for start in (PAGE, 2 * PAGE - size):
        pages[start : start + size] = pattern[:size]
        mask((ctypes.c_char * size).from_buffer(pages, start), key)
        if pages[start : start + size] != expected:
            sys.exit(f"wrong bytes: {size} at {start}")
print(2 * PAGE)
"""
)

_VALGRIND = (
    _LOAD
    + _KEY
    + """
for size in (*range(1, 300), 1023, 1024, 1025, 65535, 65536, 65537):
    payload = os.urandom(size)
    expected = bytes(a ^ b for a, b in zip(payload, key * (size // 4 + 1)))
    buffer = bytearray(payload)
    mask((ctypes.c_char * size).from_buffer(buffer), key)
    copy = (b"." + payload)[1:]
    if size > 1:
        # A single byte is not copied.
        mask(copy, key)
    if buffer != expected or copy not in (expected, payload[:1]):
        sys.exit(f"wrong bytes: {size}")
print(size)
"""
)

_ROUTINES = (
    _KEY
    + """
import os
import numpy
from websockets.speedups import apply_mask
from wsbridge.protocols import masking
from wsbridge.protocols.ws import WSProtocol

def mask_by_numpy(data, key):
    words = numpy.frombuffer(data + bytes(-len(data) % 4), numpy.uint32)
    return (words ^ numpy.frombuffer(key, numpy.uint32)).tobytes()[: len(data)]

payloads = [os.urandom(size) for size in (0, 1023, 1024, 1025, 65537, 1 << 20)]
expected = [masking.apply_mask(payload, key) for payload in payloads]
for routine in (apply_mask, mask_by_numpy, "libcrypto"):
    masking.use(routine)
    assert [masking.apply_mask(payload, key) for payload in payloads] == expected, masking.get_routine()
    server, client = WSProtocol(), WSProtocol(client=True)
    for payload in payloads:
        assert server.receive_data(client.send_message(payload))[0][0].data == payload, masking.get_routine()
    print(masking.get_routine())
"""
)


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py masking", description=(__doc__ or "").split("\n")[0])
    parser.parse_args(argv)
    python = str(ensure_environment("masking", REQUIREMENTS))
    if shutil.which("valgrind") is None:
        raise Unavailable("valgrind is missing: apt-get install valgrind")
    # Invalid reads and writes only: CPython itself uses values that valgrind takes for uninitialised.
    memcheck = ["valgrind", "--undef-value-errors=no", "--error-exitcode=9", "--quiet", sys.executable]
    checks = {
        "guard pages": ([sys.executable], _GUARD_PAGES),
        "valgrind": (memcheck, _VALGRIND),
        "routines of websockets and numpy": ([python], _ROUTINES),
    }
    page = Page("Masking", f"CPython {sys.version.split()[0]}")
    rows = []
    failed = 0
    for name, (command, program) in checks.items():
        say_line(f"masking: {name}")
        finished = subprocess.run(
            [*command, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONMALLOC": "malloc"},
            capture_output=True,
            text=True,
            timeout=VALGRIND_SECONDS,
        )
        is_ok = finished.returncode == 0
        failed += not is_ok
        said = (finished.stdout + finished.stderr).strip()
        print(f"{'ok' if is_ok else 'FAILED':<7} {name}: {said:.200}", flush=True)
        rows.append([name, Cell("ok" if is_ok else "failed", "ok" if is_ok else "fail"), said])
    page.table(["check", "outcome", "what it said"], rows)
    print(f"report: {page.write(report_folder('masking') / 'index.html')}")
    return 1 if failed else 0
