"""Which tests judge a mutant: those of its module alone, since tests/ mirrors wsbridge/."""

from __future__ import annotations

from typing import Dict, List

from ..lib.environment import ROOT

# Modules that more than the test file of their own name is about, or that have no file of their own name.
TESTS = {
    "__init__": ["test_init"],
    "asgi/ws_bridge": ["test_ws_bridge", "test_contract"],
    "config_checks": ["test_config"],
    "config_rules": ["test_config"],
    "demo/app": ["test_demo"],
    "protocols/messages": ["test_messages", "test_utf8"],
    "protocols/parts": ["test_http11", "test_bodies"],
    "protocols/ws": ["test_ws", "test_receiver_table"],
    "selftest": ["test_vendoring"],
    "server/command/cli": ["test_cli", "test_ending"],
    "server/command/flags": ["test_flags", "test_cli"],
    "server/connection/head": ["test_head", "test_embedded", "test_http_ends", "test_keep_alive"],
    "server/connection/http": [
        "test_http",
        "test_embedded",
        "test_http_bodies",
        "test_http_ends",
        "test_keep_alive",
    ],
    "server/connection/protocol": ["test_websocket", "test_metrics"],
    "server/connection/refused": ["test_own_paths"],
    "server/connection/websocket": [
        "test_websocket",
        "test_flow",
        "test_metrics",
        "test_multiplexed",
        "test_head",
    ],
    "server/connection/scopes": [
        "test_multiplexed",
        "test_keep_alive",
        "test_websocket",
        "test_proxied",
        "test_server",
    ],
    "server/listening/sockets": ["test_listening", "test_unix_socket", "test_server"],
    "server/logs/config": ["test_log_config"],
    "server/logs/format": ["test_log_format"],
    "server/logs/output": ["test_log_output"],
    "server/metrics/own_paths": ["test_own_paths", "test_metrics"],
    "server/metrics/slot": ["test_metrics_slot", "test_metrics"],
    "server/plain": ["test_speed", "test_flow"],
    "server/running": ["test_running", "test_workers"],
    "server/server": ["test_server", "fast.test_event_loop"],
    "server/workers/run": ["test_workers"],
    "server/workers/sockets": ["test_worker_sockets"],
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
        if module in TESTS:
            names = [f"tests.{name}" for name in TESTS[module]]
        if names:
            found[module] = names
    return found
