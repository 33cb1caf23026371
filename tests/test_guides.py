"""What README.md and the guides print is run here: a snippet that does not work is a failing test.

- A ``python`` block is a program of its own. It prints what its ``# ->`` lines say; ``...`` is any text.
- A ``python`` block whose first line is ``# name.py`` is that file, for the blocks of its page.
- A ``python`` block whose first line is ``# name.py, with other`` needs that library: it is only compiled
  here, and run by ``python3 conformance/run.py embedding``.
- A ``shell`` block is run line by line in a folder that looks like a checkout. A line that starts a server is
  asked to stop as soon as the server listens, and must end with 0.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import wsbridge
from wsbridge.config import ServerConfig
from wsbridge.server.command.cli import main

from .doubles import HAS_FAST
from .loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING, TIMEOUT, Client

FOLDER = Path(str(wsbridge.__file__)).parent
TESTS = Path(__file__).parent
# Where a copy is tested, README.md stays behind.
README = TESTS.parent / "README.md"
PAGES = [*README.parent.glob(README.name), TESTS / "README.md", *sorted(FOLDER.rglob("*.md"))]

# Commands that cannot be run here, and why.
NOT_RUN = {
    "python3 -m unittest": "would run itself",
    "WSBRIDGE_PACKAGE=myapp._vendor.ws python3 -m unittest": "is every test once more",
    "python3 -m pip install .": "asks a package index for flit_core",
    "uvicorn main:app --ws wsbridge.plugins.uvicorn:WebSocketProtocol": "needs uvicorn: conformance, peers",
    "gunicorn main:app --worker-class worker.Worker --workers 2": "needs gunicorn: conformance, peers",
}

# What `re.escape` makes of "...".
ANY_TEXT = re.escape("...")

LANGUAGES = {"python", "shell", "js", "ini", "dockerfile", "json", "text"}
# The configurations of proxies, which `python3 conformance/run.py proxies` runs.
LANGUAGES |= {"nginx", "haproxy", "apache", "caddy", "yaml"}


class Block(NamedTuple):
    """A fenced block: where it stands, its language, its text."""

    place: str
    language: str
    text: str

    @property
    def file_name(self) -> str:
        """The file that it is, or nothing."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found.group(1) if found else ""

    @property
    def needs_library(self) -> bool:
        return re.match(r"# \w+\.py, with \w+\n", self.text) is not None


def read_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(f"{page.name}:{line}", found.group(1), found.group(2))


def read_commands(block: Block) -> List[str]:
    lines = block.text.replace("\\\n", " ").splitlines()
    commands = [" ".join(line.partition(" #")[0].split()) for line in lines]
    return [command for command in commands if command and not command.startswith("#")]


def copy_package(root: Path) -> None:
    """The package and its tests, for all pages: a command reads the bytecode that those before it left."""
    ignore = shutil.ignore_patterns("__pycache__", "test_g*")
    shutil.copytree(FOLDER, root / "wsbridge", ignore=ignore)
    shutil.copytree(TESTS, root / "tests", ignore=ignore)


def build_checkout(root: Path, original: Path) -> None:
    """What a shell block finds where it is run: the package, its tests, and the reader's own."""
    for name in ("wsbridge", "tests"):
        (root / name).symlink_to(original / name)
    (root / "myapp").mkdir()
    (root / "myapp" / "__init__.py").touch()


def build_process(command: str) -> Tuple[List[str], Dict[str, str]]:
    """The arguments and the environment of one line; ``python3`` is the Python that runs the tests."""
    words = shlex.split(command)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    environment.pop("WSBRIDGE_PACKAGE", None)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words[0] == "python3":
        flags = ["-S"] * sys.flags.no_site + ["-O"] * sys.flags.optimize
        words[0:1] = [sys.executable, *flags]
        if "-m" in words and not {"--uds", "--help", "unittest", "selftest", "vendor"}.intersection(words):
            # With nothing at all, the command serves the demo.
            words += ["--demo"] * (words[-2] == "-m")
            # Somebody else may have the port that the page names.
            words += ["--port", "0"]
    return words, environment


def run_command(command: str, folder: Path) -> Tuple[int, str]:
    """Its exit code, and what it has said; SIGINT as soon as it is a server that listens."""
    words, environment = build_process(command)
    said: List[str] = []
    with subprocess.Popen(
        words, cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if "listening on" in line:
                process.send_signal(signal.SIGINT)
    return process.returncode, "".join(said)


def write_files(blocks: List[Block], folder: Path) -> List[Path]:
    files = [folder / block.file_name for block in blocks if block.file_name]
    for block in blocks:
        if block.file_name:
            (folder / block.file_name).write_text(block.text, "utf-8")
    return files


@contextlib.contextmanager
def importable(blocks: List[Block], folder: Path) -> Iterator[None]:
    """The files of a page can be imported, and leave no module behind."""
    files = write_files(blocks, folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for file in files:
            sys.modules.pop(file.stem, None)


class PageTests(unittest.TestCase):
    def test_there_are_guides(self) -> None:
        names = {page.relative_to(FOLDER).as_posix() for page in FOLDER.rglob("*.md")}
        pages = ("deployment", "embedding", "hosts", "migrating", "options", "plugins", "proxies")
        guides = {f"guide/{name}.md" for name in (*pages, "vendoring")}
        self.assertEqual(names, {"README.md", *guides})

    def test_every_block_says_what_it_is(self) -> None:
        for page in PAGES:
            for block in read_blocks(page):
                self.assertIn(block.language, LANGUAGES, block.place)

    def test_every_link_leads_somewhere(self) -> None:
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")

    def test_pages_of_the_package_link_only_to_what_is_copied_with_it(self) -> None:
        for page in FOLDER.rglob("*.md"):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
                self.assertIn(FOLDER, (page.parent / target).resolve().parents, f"{page.name}: {target}")

    def test_readme_is_read_in_two_minutes(self) -> None:
        for page in README.parent.glob(README.name):
            self.assertLessEqual(len(page.read_text("utf-8").split()), 900)

    def test_what_is_not_run_is_printed_somewhere(self) -> None:
        if README.exists():
            printed = [read_commands(block) for page in PAGES for block in read_blocks(page)]
            self.assertEqual(set(NOT_RUN) - {command for commands in printed for command in commands}, set())


class SnippetTests(unittest.TestCase):
    def test_python_blocks_print_what_they_say(self) -> None:
        for page in PAGES:
            blocks = [block for block in read_blocks(page) if block.language == "python"]
            with tempfile.TemporaryDirectory() as folder, importable(blocks, Path(folder)):
                for block in blocks:
                    with self.subTest(block.place):
                        self.assert_prints_what_it_says(block)

    def assert_prints_what_it_says(self, block: Block) -> None:
        printed = io.StringIO()
        code = compile(block.text, block.place, "exec")
        if block.needs_library:
            return
        with contextlib.redirect_stdout(printed):
            exec(code, {"__name__": "__main__"})
        expected = "".join(f"{line}\n" for line in re.findall(r"^ *# -> (.*)$", block.text, re.MULTILINE))
        self.assertRegex(printed.getvalue(), f"^{re.escape(expected).replace(ANY_TEXT, '.*')}$")

    @unittest.skipUnless(os.name == "posix", "the commands are those of a Unix shell")
    def test_shell_blocks_end_with_0(self) -> None:
        with tempfile.TemporaryDirectory() as checkout:
            copy_package(Path(checkout))
            for page in PAGES:
                blocks = list(read_blocks(page))
                if any(block.language == "shell" for block in blocks):
                    with tempfile.TemporaryDirectory() as folder:
                        build_checkout(Path(folder), Path(checkout))
                        self.run_page(blocks, Path(folder))

    def run_page(self, blocks: List[Block], folder: Path) -> None:
        write_files(blocks, folder)
        for block in blocks:
            if block.language == "shell":
                for command in read_commands(block):
                    if command not in NOT_RUN:
                        with self.subTest(block.place, command=command):
                            code, said = run_command(command, folder)
                            self.assertEqual(code, 0, said)


class ReadmeApplicationTests(unittest.IsolatedAsyncioTestCase):
    """README's application answers as its browser snippet expects."""

    async def test_it_echoes_and_has_a_page(self) -> None:
        blocks = [block for page in PAGES if page == README for block in read_blocks(page)]
        for block in blocks:
            if block.file_name:
                names: Dict[str, Any] = {}
                exec(compile(block.text, block.place, "exec"), names)
                await self.assert_echoes(names["app"])

    async def assert_echoes(self, app: Any) -> None:
        async with wsbridge.Server(app, port=0, log_level="error") as server:
            port = server.sockets[0].getsockname()[1]
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            client.send(REQUEST, PEER_HELLO)
            self.assertEqual(await client.read(len(SWITCHING + HELLO)), SWITCHING + HELLO)
            client.writer.close()
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.assertRegex(await client.read_to_end(), rb"^HTTP/1.1 200 OK\r\n")
            client.writer.close()
            await asyncio.wait_for(client.writer.wait_closed(), TIMEOUT)


class OptionTableTests(unittest.TestCase):
    """The table of options.md, and of README, is what `ServerConfig` says."""

    def setUp(self) -> None:
        self.defaults = {item.name: item.default for item in dataclasses.fields(ServerConfig)}

    def read_table(self, page: Path) -> List[Tuple[str, Any]]:
        rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| \S", page.read_text("utf-8"), re.MULTILINE)
        return [(name, ast.literal_eval(default)) for name, default in rows]

    def test_guide_has_every_field_in_its_order_with_its_default(self) -> None:
        table = self.read_table(FOLDER / "guide" / "options.md")
        self.assertEqual(table, list(self.defaults.items()))

    def test_readme_has_ten_with_their_defaults(self) -> None:
        for page in README.parent.glob(README.name):
            table = self.read_table(page)
            self.assertEqual(len(table), 10)
            for name, default in table:
                self.assertEqual((name, default), (name, self.defaults[name]))


class FlagTests(unittest.TestCase):
    """The flags that guides name are flags of the command."""

    def setUp(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed, self.assertRaises(SystemExit):
            main(["--help"])
        self.flags = set(re.findall(r"--[a-z-]+", printed.getvalue()))

    def test_commands_that_are_not_run_have_only_flags_that_exist(self) -> None:
        for page in sorted((FOLDER / "guide").glob("*.md")):
            for block in read_blocks(page):
                for command in re.findall(r'-m"?,? "?wsbridge"?,? "?(?:\w+:\w+)(.*)', block.text):
                    flags = set(re.findall(r"--[a-z-]+", command))
                    self.assertEqual(flags - self.flags, set(), block.place)

    def test_flags_of_uvicorn_become_flags_that_exist(self) -> None:
        text = (FOLDER / "guide" / "migrating.md").read_text("utf-8")
        rows = re.findall(r"^\| `(--[\w-]+)` \| (?:`(--[\w-]+)`)? ?\| (.+) \|$", text, re.MULTILINE)
        self.assertGreater(len(rows), 50)
        for theirs, ours, difference in rows:
            with self.subTest(theirs):
                self.assertTrue(not ours or ours in self.flags, f"{ours} is no flag")
                if difference.startswith("the same"):
                    self.assertEqual(ours, theirs)
                if not ours:
                    self.assertNotIn(theirs, self.flags)


class HouseTests(unittest.TestCase):
    """wsbridge/README.md names files and names that exist."""

    text = (FOLDER / "README.md").read_text("utf-8")

    def test_every_file_it_names_is_there(self) -> None:
        names = re.findall(r"`([\w/]+\.(?:py|md|html))`", self.text)
        self.assertGreater(len(names), 30)
        for name in names:
            # `server/fast` may be deleted.
            is_elsewhere = name.startswith(("tests/", "conformance/"))
            if not is_elsewhere and (HAS_FAST or not name.startswith("server/fast/")):
                self.assertTrue((FOLDER / name).exists(), name)

    def test_it_names_every_file(self) -> None:
        for file in FOLDER.rglob("*.py"):
            name = file.relative_to(FOLDER).as_posix()
            if not name.endswith("__init__.py"):
                self.assertTrue(f"`{name}`" in self.text, name)

    def test_every_test_file_that_guides_name_is_importable(self) -> None:
        for page in PAGES:
            for name in re.findall(r"\btests\.(\w+)", page.read_text("utf-8")):
                self.assertTrue((TESTS / f"{name}.py").exists(), f"{page.name}: tests.{name}")


if __name__ == "__main__":
    unittest.main()
