"""Which tests judge a mutant: those of its module alone, since tests/ mirrors wsbridge/."""

from __future__ import annotations

from typing import Dict, List

from ..lib.environment import ROOT

# Modules that more than the test file of their own name is about.
MORE_TESTS = {
    "asgi/ws_bridge": ["tests.test_contract"],
    "protocols/deflate": ["tests.test_deflate_negotiation"],
    "protocols/messages": ["tests.test_utf8"],
    "protocols/ws": ["tests.test_receiver_table"],
    "server/connection/head": ["tests.test_embedded", "tests.test_http_ends", "tests.test_keep_alive"],
    "server/connection/http": [
        "tests.test_embedded",
        "tests.test_http_bodies",
        "tests.test_http_ends",
        "tests.test_keep_alive",
    ],
    "server/server": ["tests.fast.test_event_loop"],
}


def find_tests() -> Dict[str, List[str]]:
    """Return the tests' names of each module that has tests: `asgi/session`, its path below wsbridge/.

    The test file of `wsbridge/server/connection/head.py` is `test_head.py`, in tests/ or a folder of it; a
    package's is named after the package.
    """
    found = {}
    package = ROOT / "wsbridge"
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).with_suffix("").as_posix()
        stem = path.parent.name if path.stem == "__init__" else path.stem
        files = sorted((ROOT / "tests").rglob(f"test_{stem}.py"))
        names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
        if names:
            found[module] = names + MORE_TESTS.get(module, [])
    return found
