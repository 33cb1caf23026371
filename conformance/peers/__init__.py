"""The tests of uvicorn, Starlette, FastAPI and granian, on wsbridge and on its plug-in for uvicorn.

    python3 conformance/run.py peers [--only NAME] [pytest's arguments]

Each suite comes from the sdist of its pinned version and runs as it is: uvicorn's on the plug-in's class in
place of its own, and those over HTTP on an adapter that exists for them alone (on_uvicorn_http.py),
Starlette's and FastAPI's with their TestClient on a real server (on_starlette.py, on_starlette_http.py),
granian's with servers of ours (stand_in/). Then the commands of the guide to plug-ins are run, and talked to
(commands.py). A test that fails must stand in differences.txt with the reason and with what its failure says;
one that stands there and passes fails the check, too.

The report is conformance/reports/peers/index.html, with the output of each suite beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from ..lib.environment import ROOT, Unavailable, ensure_environment, lock_folder, report_folder, say_line
from .commands import run_commands
from .differences import Case, judge, read_cases, read_differences
from .page import build_page

FOLDER = Path(__file__).parent
REQUIREMENTS = (FOLDER / "requirements.txt").read_text("utf-8").split()
SUITE_SECONDS = 600.0


class Suite(NamedTuple):
    """Tests of another project, and the server that they run on; `kind` tells two of one project apart."""

    source: str
    server: str
    plugin: str
    tests: str
    options: Sequence[str]
    kind: str = ""

    @property
    def project(self) -> str:
        return self.source.partition("==")[0]

    @property
    def subject(self) -> str:
        """What differences.txt calls it."""
        return f"{self.project} {self.kind}".strip()

    @property
    def name(self) -> str:
        return f"{self.subject} on {self.server}"


GRANIAN = "granian==2.8.7"
UVICORN, STARLETTE, FASTAPI = (
    next(pin for pin in REQUIREMENTS if pin.startswith(f"{name}=="))
    for name in ("uvicorn", "starlette", "fastapi")
)
# Each with the one of pytest's plug-ins for asyncio that it is written for.
ON_ANYIO = ["-p", "no:asyncio"]
ON_ASYNCIO = ["-o", "asyncio_default_fixture_loop_scope=function"]
# FastAPI's tests have a mark of pytest-xdist, which is not used here.
ON_FASTAPI = [*ON_ANYIO, "-o", "markers=xdist_group"]
# Those that open WebSockets, but for the tests of the client that is replaced.
STARLETTE_TESTS = (
    "tests/test_websockets.py tests/test_endpoints.py tests/test_routing.py tests/test_applications.py"
    " tests/test_authentication.py tests/test_exceptions.py tests/test_staticfiles.py"
    " tests/middleware/test_base.py tests/middleware/test_errors.py"
)
# Those that send requests, but for the tests of that client, and of a middleware that is not installed.
STARLETTE_HTTP_TESTS = (
    "tests --ignore=tests/test_testclient.py --ignore=tests/middleware/test_opentelemetry.py"
)
# Those of FastAPI about forms, files, streams, and what is between an application and its server.
FASTAPI_TESTS = (
    "tests/test_sse.py tests/test_stream_bare_type.py tests/test_stream_json_validation_error.py"
    " tests/test_stream_status_code.py tests/test_form_default.py tests/test_form_limits.py"
    " tests/test_forms_multiple_models.py tests/test_forms_single_model.py tests/test_forms_single_param.py"
    " tests/test_upload_file_read_position.py tests/test_optional_file_list.py"
    " tests/test_request_body_limits.py tests/test_repeated_cookie_headers.py"
    " tests/test_dependency_after_yield_streaming.py tests/test_dependency_contextmanager.py"
    " tests/test_tutorial/test_request_files tests/test_tutorial/test_request_forms"
    " tests/test_tutorial/test_request_form_models tests/test_tutorial/test_request_forms_and_files"
    " tests/test_tutorial/test_request_body_limits tests/test_tutorial/test_server_sent_events"
    " tests/test_tutorial/test_stream_data tests/test_tutorial/test_stream_json_lines"
    " tests/test_tutorial/test_response_cookies tests/test_tutorial/test_behind_a_proxy"
    " tests/test_tutorial/test_middleware tests/test_tutorial/test_background_tasks"
)
# But for those of unix sockets, which wait 1.5 s for the server, however busy the machine is.
GRANIAN_HTTP_TESTS = "tests/test_asgi.py tests/test_https.py"
BOTH = ("wsbridge", "plug-in")
SUITES = [
    Suite(UVICORN, "plug-in", "on_uvicorn", "tests/protocols/test_websocket.py", ON_ANYIO),
    Suite(UVICORN, "wsbridge", "on_uvicorn_http", "tests/protocols/test_http.py", ON_ANYIO, "HTTP"),
    *(Suite(STARLETTE, server, "on_starlette", STARLETTE_TESTS, ON_ANYIO) for server in BOTH),
    Suite(STARLETTE, "wsbridge", "on_starlette_http", STARLETTE_HTTP_TESTS, ON_ANYIO, "HTTP"),
    Suite(FASTAPI, "wsbridge", "on_starlette_http", FASTAPI_TESTS, ON_FASTAPI, "HTTP"),
    *(Suite(GRANIAN, server, "on_granian", "tests/test_ws.py", ON_ASYNCIO) for server in BOTH),
    Suite(GRANIAN, "wsbridge", "on_granian", GRANIAN_HTTP_TESTS, ON_ASYNCIO, "HTTP"),
]
COMMANDS = "commands"


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="run.py peers",
        description=(__doc__ or "").splitlines()[0],
        epilog="Further arguments are pytest's: -k WORDS, -x ...; then what is not seen is no mistake.",
    )
    choices = [*dict.fromkeys(suite.project for suite in SUITES), COMMANDS]
    parser.add_argument("--only", choices=choices, help="only the tests of this project")
    options, more = parser.parse_known_args(argv)
    if sys.version_info < (3, 11):
        raise Unavailable("the pinned versions need Python 3.11 or newer")
    folder = report_folder("peers")
    lock_folder(folder)
    started = time.monotonic()
    python = ensure_environment("peers-suites", REQUIREMENTS, only_binary=True)
    differences = read_differences()
    judged = {}
    for suite in SUITES:
        if options.only in (None, suite.project):
            cases = run_suite(suite, python, folder, more)
            wanted = [difference for difference in differences if difference.subject == suite.subject]
            judged[suite.name] = judge(cases, wanted, is_whole=not more)
    if options.only in (None, COMMANDS) and not more:
        judged[COMMANDS] = judge(run_commands(python, folder), [], is_whole=True)
    for name, verdict in judged.items():
        print(f"{name}: {verdict.describe()}")
    seconds = time.monotonic() - started
    target = build_page(judged, [UVICORN, STARLETTE, FASTAPI, GRANIAN], seconds).write(folder / "index.html")
    print(f"report: {target.relative_to(ROOT)}, {seconds:.0f} s")
    return 0 if all(verdict.is_good for verdict in judged.values()) else 1


def run_suite(suite: Suite, python: Path, folder: Path, more: Sequence[str]) -> List[Case]:
    """What became of each of its tests."""
    say_line(f"{suite.name} ...")
    source = unpack_source(suite, python, folder / "sources")
    results = folder / f"{suite.name}.xml"
    results.unlink(missing_ok=True)
    command = [
        *(str(python), "-m", "pytest", "-p", f"conformance.peers.{suite.plugin}"),
        *("-p", "no:cacheprovider", "-o", "addopts=", "--tb=short", "--timeout=60", "-q"),
        *(f"--junitxml={results}", *suite.options, *suite.tests.split(), *more),
    ]
    environment = {**os.environ, "PYTHONPATH": str(link_packages(folder)), "PEERS_SERVER": suite.server}
    with open(folder / f"{suite.name}.log", "w") as log:
        subprocess.run(
            command, cwd=source, env=environment, stdout=log, stderr=log, timeout=SUITE_SECONDS, check=False
        )
    if not results.exists():
        raise Unavailable(f"{suite.name}: pytest did not start (log: {log.name})")
    return read_cases(results)


def unpack_source(suite: Suite, python: Path, folder: Path) -> Path:
    """The folder of the sdist's tests, which pip has fetched; what they test is installed, or stood for."""
    target = folder / suite.source.replace("==", "-")
    if not target.exists():
        command = [str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        command += ["--no-binary", suite.project, "--disable-pip-version-check", suite.source]
        environment: Dict[str, str] = dict(os.environ)
        if suite.source == GRANIAN:
            command.append("--no-build-isolation")
            environment["PYTHONPATH"] = str(FOLDER / "backend")
        done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
        if done.returncode:
            raise Unavailable(f"{suite.source}: pip cannot fetch its sdist: {done.stderr.decode()[-200:]!r}")
        with tarfile.open(f"{target}.tar.gz") as archive:
            wanted = tuple(f"{target.name}/{name}" for name in ("tests/", "docs_src/", "pyproject.toml"))
            members = [member for member in archive if member.name.startswith(wanted)]
            archive.extractall(folder, members, filter="data")
    return target


def link_packages(folder: Path) -> Path:
    """A folder with what the suites import of ours, without our tests, whose name theirs have too."""
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    for path in (ROOT / "wsbridge", ROOT / "conformance", FOLDER / "stand_in" / "granian.py"):
        link = packages / path.name
        if not link.is_symlink():
            link.symlink_to(path)
    return packages
