"""The floors of the house, read from the imports themselves, and the vendored copy."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar, Iterator, List, NamedTuple, Set, Tuple

import wsbridge

# The package under test may have another name, see tests/__init__.py.
PACKAGE = wsbridge.__name__
FOLDER = Path(str(wsbridge.__file__)).parent
ROOT = FOLDER.parents[PACKAGE.count(".")]

# Python 3.9 cannot tell the names of its standard library: what a WebSocket server may need of it.
NAMES = """
abc argparse array asyncio atexit base64 binascii bisect codecs collections concurrent configparser
contextlib contextvars ctypes dataclasses difflib email enum errno fcntl fnmatch functools __future__ gc
hashlib _hashlib heapq http importlib inspect io ipaddress itertools json keyword logging math mmap
operator os pathlib pkgutil platform queue re resource secrets select selectors shutil signal socket ssl
stat string struct sys threading time traceback types typing urllib warnings weakref zlib
"""
STANDARD_LIBRARY: Set[str] = set(getattr(sys, "stdlib_module_names", None) or NAMES.split())

# What has no place where there are only bytes and events.
CLOCKS_AND_SOCKETS = {"asyncio", "logging", "selectors", "socket", "ssl", "threading", "time"}


class Import(NamedTuple):
    """One module a file imports: ``name`` is relative to the package where ``is_ours``."""

    file: str
    name: str
    is_ours: bool
    #: Whether it is done when the file is imported, and by more than a type checker.
    at_import: bool


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, at_import: bool = True) -> Iterator[Tuple[ast.AST, bool]]:
    """``node`` and everything below, each with whether it is run when the file is imported."""
    if is_type_checking(node) or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        at_import = False
    yield node, at_import
    for child in ast.iter_child_nodes(node):
        yield from walk(child, at_import)


def read_imports(file: str, tree: ast.Module) -> Iterator[Import]:
    folder = file.split("/")[:-1]
    for node, at_import in walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, alias.name, False, at_import)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(file, str(node.module), False, at_import)
        elif isinstance(node, ast.ImportFrom):
            parents = folder[: len(folder) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield Import(file, ".".join([*parents, name]), True, at_import)


def run_python(*arguments: str, root: Path = ROOT) -> List[str]:
    """The words a program prints, run alone: ``arguments`` are options, and last the program."""
    *options, program = arguments
    start = f"import sys; sys.path.insert(0, {os.fspath(root)!r})\n"
    finished = subprocess.run(
        [sys.executable, *options, "-c", start + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    if finished.returncode:
        raise AssertionError(finished.stdout.decode())
    return finished.stdout.decode().split()


class FloorTests(unittest.TestCase):
    """Arrows point down only: server -> asgi -> protocols, and config beside them."""

    imports: ClassVar[List[Import]]
    #: File and line of each.
    asserts: ClassVar[List[Tuple[str, int]]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.imports, cls.asserts = [], []
        for path in sorted(FOLDER.rglob("*.py")):
            file, tree = path.relative_to(FOLDER).as_posix(), ast.parse(path.read_bytes())
            cls.imports += read_imports(file, tree)
            cls.asserts += [(file, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Assert)]

    def imports_of(self, *folders: str, at_import: bool = False) -> List[Import]:
        found = [
            imported
            for imported in self.imports
            if imported.file.startswith(folders) and (imported.at_import or not at_import)
        ]
        self.assertTrue(found, "no import was read")
        return found

    def assert_imports_only_of_ours(self, folder: str, *allowed: str) -> None:
        for imported in self.imports_of(folder):
            if imported.is_ours:
                self.assertIn(imported.name.split(".")[0], allowed, imported)

    def assert_imports_none_of(self, folder: str, names: Set[str]) -> None:
        for imported in self.imports_of(folder):
            self.assertFalse(not imported.is_ours and imported.name.split(".")[0] in names, imported)

    def test_ground_floor_imports_nothing_above_it(self) -> None:
        self.assert_imports_only_of_ours("protocols/", "protocols")

    def test_ground_floor_knows_of_no_sockets_clocks_logs_or_threads(self) -> None:
        self.assert_imports_none_of("protocols/", CLOCKS_AND_SOCKETS)

    def test_middle_floor_imports_the_ground_floor_and_the_configuration(self) -> None:
        self.assert_imports_only_of_ours("asgi/", "asgi", "protocols", "config")

    def test_middle_floor_has_asyncio_for_its_primitives_and_logging_for_a_warning(self) -> None:
        self.assert_imports_none_of("asgi/", CLOCKS_AND_SOCKETS - {"asyncio", "logging"})

    def test_top_floor_does_not_import_the_demo(self) -> None:
        self.assert_imports_only_of_ours(
            "server/", "server", "asgi", "protocols", "config", "__name__", "__version__"
        )

    def test_plug_ins_stand_on_all_floors_and_nothing_stands_on_them(self) -> None:
        self.assert_imports_only_of_ours("plugins/", "server", "asgi", "protocols", "config")
        for imported in self.imports_of("server/", "asgi/", "protocols/", "demo/"):
            self.assertFalse(imported.is_ours and "plugins" in imported.name.split("."), imported)

    def test_one_module_alone_chooses_fast(self) -> None:
        for imported in self.imports_of(""):
            if imported.is_ours and "fast" in imported.name.split("."):
                self.assertTrue(imported.file.startswith(("server/fast/", "server/speed.py")), imported)

    def test_configuration_imports_the_ground_floor_only(self) -> None:
        self.assert_imports_only_of_ours("config", "config", "config_checks", "config_rules", "protocols")
        self.assert_imports_none_of("config", CLOCKS_AND_SOCKETS)

    def test_selftest_finds_a_broken_file_before_it_is_imported(self) -> None:
        for imported in self.imports_of("__main__.py", "vendoring.py", at_import=True):
            if imported.is_ours:
                self.assertIn(imported.name, ("__name__", "__version__"), imported)

    def test_package_itself_imports_nothing_of_ours_before_it_is_asked(self) -> None:
        for imported in self.imports_of("__init__.py", at_import=True):
            self.assertFalse(imported.is_ours, imported)

    def test_every_import_of_ours_is_relative_and_every_other_of_the_standard_library(self) -> None:
        self.assertNotIn(PACKAGE.split(".")[0], STANDARD_LIBRARY)
        for imported in self.imports_of(""):
            if not imported.is_ours and imported.name != "typing_extensions":
                self.assertIn(imported.name.split(".")[0], STANDARD_LIBRARY, imported)

    def test_typing_extensions_are_for_type_checkers_only(self) -> None:
        for imported in self.imports_of("", at_import=True):
            self.assertNotEqual(imported.name, "typing_extensions", imported)

    def test_zlib_and_ssl_are_imported_only_inside_functions(self) -> None:
        for imported in self.imports_of("", at_import=True):
            self.assertNotIn(imported.name, ("ssl", "zlib"), imported)

    def test_no_assert_carries_logic(self) -> None:
        self.assertEqual(self.asserts, [])


class LoadingTests(unittest.TestCase):
    """What an import costs, in interpreters of their own: ours has loaded everything."""

    def loaded_by(self, name: str) -> List[str]:
        return run_python("-I", "-S", f"import {name}; print(*sys.modules)")

    def test_frame_codec_loads_neither_asyncio_nor_sockets_nor_compression(self) -> None:
        modules = self.loaded_by(f"{PACKAGE}.protocols.ws")
        self.assertIn(f"{PACKAGE}.protocols.frames", modules)
        self.assertEqual({"asyncio", "ssl", "zlib", "socket", "logging"}.intersection(modules), set())

    def test_ground_floor_as_a_whole_loads_neither_asyncio_nor_tls_nor_compression(self) -> None:
        files = (FOLDER / "protocols").glob("*.py")
        modules = self.loaded_by(", ".join(f"{PACKAGE}.protocols.{file.stem}" for file in files))
        self.assertEqual({"asyncio", "ssl", "zlib", "logging"}.intersection(modules), set())

    def test_package_itself_loads_none_of_its_floors(self) -> None:
        modules = self.loaded_by(PACKAGE)
        self.assertNotIn("asyncio", modules)
        self.assertEqual([name for name in modules if name.startswith(PACKAGE + ".")], [])


# RFC 6455 1.3: the sample key. RFC 6455 5.7: "Hello" unmasked, and masked.
VENDORED_PROGRAM = """
from myapp._vendor import ws
from myapp._vendor.ws.protocols.ws import WSProtocol
print(ws.build_ws_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").decode())
server, client = WSProtocol(), WSProtocol(client=True)
print(server.receive_data(bytes.fromhex("818537fa213d7f9f4d5158"))[0][0].data)
print(server.send_message("Hello").hex())
print(client.receive_data(server.send_message("Hello"))[0][0].data)
print(server.receive_data(client.send_message("Hello"))[0][0].data)
print("wsbridge" in sys.modules, WSProtocol.__module__)
"""


class VendoredCopyTests(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.copy = self.root / "myapp" / "_vendor" / "ws"
        shutil.copytree(FOLDER, self.copy, ignore=shutil.ignore_patterns("__pycache__"))

    def test_licence_is_copied_with_it_and_is_that_of_the_project(self) -> None:
        text = (self.copy / "LICENSE").read_text("utf-8")
        self.assertRegex(text, r"^MIT License\n\nCopyright ")
        # A copy that is tested where it is has no other.
        for original in Path(__file__).parents[1].glob("LICENSE"):
            self.assertEqual(text, original.read_text("utf-8"))

    def test_copied_folder_works_alone_under_another_name(self) -> None:
        words = run_python("-I", "-S", "-OO", VENDORED_PROGRAM, root=self.root)
        self.assertEqual(words[0], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(words[1:5], ["Hello", "810548656c6c6f", "Hello", "Hello"])
        self.assertEqual(words[5:], ["False", "myapp._vendor.ws.protocols.ws"])

    def test_every_module_of_the_copy_can_be_imported(self) -> None:
        # `__main__` would start the server.
        files = [file.relative_to(self.root) for file in self.copy.rglob("*.py")]
        names = [".".join((*file.parent.parts, file.stem)) for file in files if file.stem != "__main__"]
        program = f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nprint('done')"
        self.assertEqual(run_python("-I", "-S", "-OO", program, root=self.root), ["done"])

    def test_these_tests_can_be_run_against_the_copy(self) -> None:
        tests = os.fspath(Path(__file__).parents[1])
        program = f"""
import os
os.environ["WSBRIDGE_PACKAGE"] = "myapp._vendor.ws"
sys.path.append({tests!r})
import tests
import wsbridge.protocols.ws as alias
from wsbridge.protocols import frames
from wsbridge import WSProtocol
import wsbridge
import myapp._vendor.ws.protocols.ws as real
print(wsbridge is sys.modules["myapp._vendor.ws"], alias is real, WSProtocol is real.WSProtocol)
print(frames.__name__, real.__spec__.name)
"""
        words = run_python("-I", "-S", "-OO", program, root=self.root)
        self.assertEqual(words[:3], ["True", "True", "True"])
        self.assertEqual(words[3:], ["myapp._vendor.ws.protocols.frames", "myapp._vendor.ws.protocols.ws"])


if __name__ == "__main__":
    unittest.main()
