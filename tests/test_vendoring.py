"""``vendor``: what it copies, updates and refuses; ``selftest``: what it finds in a copy's files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import py_compile
import runpy
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from typing import Any, List, Optional, Tuple
from unittest import mock

import wsbridge
from wsbridge import selftest, vendoring

from .doubles import without

PACKAGE = wsbridge.__name__
FOLDER = Path(str(wsbridge.__file__)).parent
ROOT = FOLDER.parents[PACKAGE.count(".")]
VERSION = wsbridge.__version__
MANIFEST = "MANIFEST.sha256"
WAY_OUT = "remove the copy, and make it again with `vendor`"
# Where the package under test is a copy itself, it may have a manifest already.
IGNORED = shutil.ignore_patterns("__pycache__", MANIFEST)

START = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy._run_module_as_main(sys.argv.pop(1))"


def read(folder: Path) -> List[str]:
    """The names of all files below, caches of bytecode left out."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = [file.relative_to(folder).as_posix() for file in files]
    return sorted(name for name in names if "__pycache__" not in name)


class VendoringCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(os.path.realpath(folder.name))
        self.copy = self.root / "myapp" / "ws"

    def command(self, *arguments: str) -> Tuple[Any, str, str]:
        """Exit code, standard output and error of the command line in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = vendoring.main(list(arguments))
            except SystemExit as end:
                code = end.code
        return code, out.getvalue(), err.getvalue()

    def vendor(self, *flags: str) -> List[str]:
        code, out, errors = self.command("vendor", os.fspath(self.copy), *flags)
        self.assertEqual((code, errors), (0, ""))
        return out.splitlines()

    def assert_refused(self, text: str, folder: Optional[Path] = None) -> None:
        """One line on standard error, and nothing is written."""
        before = {name: (self.root / name).read_bytes() for name in read(self.root)}
        code, out, errors = self.command("vendor", os.fspath(folder or self.copy))
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(errors, rf"^python3 -m {PACKAGE} vendor: error: {text}\n$")
        self.assertEqual({name: (self.root / name).read_bytes() for name in read(self.root)}, before)

    def assert_foreign(self, names: str) -> None:
        text = f"has files that are not of an unchanged copy: {names}; move them away, and run this again"
        self.assert_refused(f".* {text}")

    def run_copy(self, *arguments: str, path: Optional[Path] = None) -> Tuple[int, str, str]:
        """The command line of the copy, in an interpreter of its own."""
        command = [sys.executable, "-I", "-S", "-B", "-c", START, os.fspath(path or self.root), "myapp.ws"]
        finished = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
        return finished.returncode, finished.stdout, finished.stderr

    def assert_intact(self, path: Optional[Path] = None) -> List[str]:
        code, out, errors = self.run_copy("selftest", path=path)
        self.assertEqual((code, errors), (0, ""))
        lines = out.splitlines()
        self.assertRegex(lines[0], rf"^files: \d+, as in {MANIFEST}$")
        self.assertRegex(lines[-1], rf"^ok: myapp\.ws, wsbridge {VERSION}, on \w+ 3\.[\d.]+\w*$")
        return lines

    def assert_not_intact(self, text: str) -> None:
        code, out, errors = self.run_copy("selftest")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(errors, f"python3 -m myapp.ws selftest: error: {text}; {WAY_OUT}\n")


class CopyTests(VendoringCase):
    def test_copy_has_every_file_and_the_manifest(self) -> None:
        lines = self.vendor()
        expected = [name for name in read(FOLDER) if name != MANIFEST]
        self.assertEqual(lines, [f"{self.copy}: wsbridge {VERSION}, files: {len(expected)} added"])
        self.assertEqual(read(self.copy), sorted([*expected, MANIFEST]))
        for name in expected:
            self.assertEqual((self.copy / name).read_bytes(), (FOLDER / name).read_bytes(), name)

    def test_manifest_is_what_sha256sum_reads_sorted_by_name(self) -> None:
        self.vendor()
        title, *lines = (self.copy / MANIFEST).read_text("utf-8").splitlines()
        self.assertEqual(title, f"# wsbridge {VERSION}")
        names = [name for name in read(self.copy) if name != MANIFEST]
        digests = [hashlib.sha256((self.copy / name).read_bytes()).hexdigest() for name in names]
        self.assertEqual(lines, [f"{digest}  {name}" for digest, name in zip(digests, names)])

    def test_same_input_makes_the_same_manifest_and_a_copy_of_a_copy_too(self) -> None:
        self.vendor()
        code, _, errors = self.run_copy("vendor", os.fspath(self.root / "again"))
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(read(self.copy), read(self.root / "again"))
        self.assertEqual((self.copy / MANIFEST).read_bytes(), (self.root / "again" / MANIFEST).read_bytes())

    def test_bytecode_and_hidden_files_are_not_copied(self) -> None:
        shutil.copytree(FOLDER, self.copy, ignore=IGNORED)
        py_compile.compile(os.fspath(self.copy / "config.py"))
        py_compile.compile(os.fspath(self.copy / "config.py"), os.fspath(self.copy / "config.pyc"))
        (self.copy / "demo" / ".page.html.swp").write_bytes(b"")
        (self.copy / ".cache").mkdir()
        (self.copy / ".cache" / "page").write_bytes(b"")
        self.run_copy("vendor", os.fspath(self.root / "again"))
        self.assertEqual(read(self.root / "again"), sorted({*read(FOLDER), MANIFEST}))

    def test_copy_out_of_a_zip(self) -> None:
        self.vendor()
        with zipfile.ZipFile(self.root / "app.zip", "w") as archive:
            archive.writestr("myapp/__init__.py", "")
            for name in read(self.copy):
                archive.write(self.copy / name, f"myapp/ws/{name}")
        again = self.root / "again"
        code, _, errors = self.run_copy("vendor", os.fspath(again), path=self.root / "app.zip")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual((again / MANIFEST).read_bytes(), (self.copy / MANIFEST).read_bytes())
        self.assert_intact(self.root / "app.zip")

    def test_copy_of_the_ground_floor_alone(self) -> None:
        self.vendor("--only", "protocols")
        names = [name for name in read(self.copy) if not name.startswith("protocols/")]
        kit = ["__init__.py", "__main__.py", "py.typed", "selftest.py", "vendoring.py"]
        self.assertEqual(names, ["LICENSE", MANIFEST, *kit])
        self.assertEqual(read(self.copy / "protocols"), read(FOLDER / "protocols"))
        lines = self.assert_intact()
        self.assertEqual(lines[1:-1], ["codec: handshake, messages, compression, ping, close"])

    def test_without_a_server_an_application_is_an_error_of_one_line(self) -> None:
        self.vendor("--only=protocols")
        code, out, errors = self.run_copy("served:app")
        self.assertEqual((code, out), (2, ""))
        self.assertRegex(errors, r"^python3 -m myapp\.ws: error: .*'served:app'.* \(--help says more\)\n$")

    def test_name_that_cannot_be_imported(self) -> None:
        for name in ("my-ws", "1ws", "class"):
            text = f"'{name}' cannot be imported: the last part of DEST names the package"
            self.assert_refused(text, self.root / name)

    def test_folder_inside_the_package(self) -> None:
        for folder in (FOLDER, FOLDER / "demo", FOLDER / "demo" / "ws"):
            self.assert_refused(
                ".* is inside the package that would be copied: choose a folder outside", folder
            )

    def test_folder_that_cannot_be_made(self) -> None:
        (self.root / "myapp").write_bytes(b"")
        self.assert_refused(r"\[\w+ \d+\] .*")

    def test_frozen_program_has_nothing_to_copy(self) -> None:
        with mock.patch.object(vendoring, "IS_FROZEN", True):
            self.assert_refused("the modules of a frozen program are no files")


class UpdateTests(VendoringCase):
    def age(self) -> None:
        """Make the copy an older one: a file differs, one is not there yet, three are there still."""
        shutil.copytree(FOLDER, self.copy, ignore=IGNORED)
        (self.copy / "config.py").write_text("# old")
        (self.copy / "py.typed").unlink()
        for name in ("old.py", "gone/deep/first.py", "gone/deep/second.py"):
            (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
            (self.copy / name).write_text("# gone")
            py_compile.compile(os.fspath(self.copy / name))
        digests = {name: hashlib.sha256((self.copy / name).read_bytes()) for name in read(self.copy)}
        lines = [f"{digest.hexdigest()}  {name}\n" for name, digest in digests.items()]
        (self.copy / MANIFEST).write_text("".join(["# wsbridge 0.0.9\n", *lines]))

    def test_update_says_what_has_changed(self) -> None:
        self.age()
        counts = "files: 1 added, 1 changed, 3 removed"
        self.assertEqual(
            self.vendor(),
            [
                *("added py.typed", "changed config.py"),
                *("removed gone/deep/first.py", "removed gone/deep/second.py", "removed old.py"),
                f"{self.copy}: wsbridge {VERSION} (was 0.0.9), {counts}",
            ],
        )
        self.assertFalse((self.copy / "gone").exists())
        self.assert_intact()

    def test_update_to_the_same_changes_nothing(self) -> None:
        self.vendor()
        os.utime(self.copy / MANIFEST, (0, 0))
        self.assertEqual(self.vendor(), [f"{self.copy}: wsbridge {VERSION}, files: as they were"])
        self.assertEqual((self.copy / MANIFEST).stat().st_mtime, 0)

    def test_ground_floor_becomes_the_whole_and_the_other_way_round(self) -> None:
        self.vendor()
        self.assertIn("removed server/command/cli.py", self.vendor("--only", "protocols"))
        self.assertFalse((self.copy / "server").exists())
        self.assertIn("added server/command/cli.py", self.vendor())
        self.assert_intact()

    def test_update_that_was_interrupted_is_repeated(self) -> None:
        self.age()
        shutil.copy(FOLDER / "config.py", self.copy / "config.py")
        (self.copy / "old.py").unlink()
        (self.copy / "gone" / "deep" / "first.py").unlink()
        self.vendor()
        self.assert_intact()

    def test_copy_made_by_other_means_gets_its_manifest(self) -> None:
        shutil.copytree(FOLDER, self.copy, ignore=IGNORED)
        self.vendor()
        self.assert_intact()

    def test_file_of_somebody_else_is_not_overwritten(self) -> None:
        self.copy.mkdir(parents=True)
        (self.copy / "config.py").write_text("# mine")
        self.assert_foreign("config.py")

    def test_folder_with_files_of_somebody_else_stays_as_it_is(self) -> None:
        self.vendor()
        (self.copy / "demo" / "mine.py").write_text("")
        (self.copy / "config.py").write_text("# mine")
        self.assert_foreign("config.py, demo/mine.py")

    def test_many_of_them_are_counted(self) -> None:
        self.copy.mkdir(parents=True)
        for number in range(7):
            (self.copy / f"mine{number}").write_text("")
        self.assert_foreign("mine0, mine1, mine2, mine3, mine4 and 2 more")

    def test_manifest_of_somebody_else_is_not_overwritten(self) -> None:
        self.copy.mkdir(parents=True)
        for text in ("# theirs 1.0\n", "", "\xff\n"):
            (self.copy / MANIFEST).write_text(text, "latin-1")
            self.assert_foreign(MANIFEST)

    def test_file_in_place_of_the_folder(self) -> None:
        self.copy.parent.mkdir()
        self.copy.write_text("")
        self.assert_refused(r"\[\w+ \d+\] .*")

    @unittest.skipUnless(os.name == "posix", "a link needs a privilege elsewhere")
    def test_what_a_link_leads_to_stays_as_it_is(self) -> None:
        self.age()
        (self.root / "theirs").write_text("# old")
        (self.copy / "config.py").unlink()
        (self.copy / "config.py").symlink_to(self.root / "theirs")
        self.vendor()
        self.assertEqual((self.root / "theirs").read_text(), "# old")
        self.assertFalse((self.copy / "config.py").is_symlink())

    @unittest.skipUnless(os.name == "posix", "a link needs a privilege elsewhere")
    def test_file_of_somebody_else_is_not_read(self) -> None:
        self.copy.mkdir(parents=True)
        (self.copy / "mine").symlink_to(self.root / "nothing")
        self.assert_refused(".*: mine; move them away, and run this again")


class IntactTests(VendoringCase):
    def setUp(self) -> None:
        super().setUp()
        self.vendor()

    def test_whole_copy(self) -> None:
        lines = self.assert_intact()
        codec = "codec: handshake, messages, compression, ping, close"
        self.assertEqual(lines[1:-1], [codec, "server: the same with an application"])

    def test_bytecode_is_no_difference(self) -> None:
        py_compile.compile(os.fspath(self.copy / "config.py"))
        py_compile.compile(os.fspath(self.copy / "config.py"), os.fspath(self.copy / "config.pyc"))
        self.assert_intact()

    def test_bytecode_without_its_source_is_not_listed(self) -> None:
        (self.copy / "mine.pyc").write_bytes(b"")
        self.assert_not_intact(f"not as in {MANIFEST}: not listed: mine.pyc")

    def test_changed_file_even_if_it_cannot_be_imported(self) -> None:
        (self.copy / "protocols" / "errors.py").write_text("class")
        (self.copy / "server" / "command" / "cli.py").write_text("class")
        changed = "protocols/errors.py, server/command/cli.py"
        self.assert_not_intact(f"not as in {MANIFEST}: changed: {changed}")

    def test_missing_file(self) -> None:
        (self.copy / "server" / "command" / "cli.py").unlink()
        (self.copy / "LICENSE").unlink()
        self.assert_not_intact(f"not as in {MANIFEST}: missing: LICENSE, server/command/cli.py")

    def test_file_that_is_not_listed(self) -> None:
        (self.copy / "protocols" / "mine.py").write_text("")
        self.assert_not_intact(f"not as in {MANIFEST}: not listed: protocols/mine.py")

    def test_everything_at_once(self) -> None:
        (self.copy / "config.py").write_text("# mine")
        (self.copy / "mine.py").write_text("")
        (self.copy / "demo" / "app.py").unlink()
        differences = "changed: config.py; missing: demo/app.py; not listed: mine.py"
        self.assert_not_intact(f"not as in {MANIFEST}: {differences}")

    def test_manifest_that_is_missing_or_no_manifest(self) -> None:
        (self.copy / MANIFEST).write_text("# theirs\n")
        self.assert_not_intact(f"{MANIFEST} is missing, or is not what `vendor` has written")
        (self.copy / MANIFEST).unlink()
        self.assert_not_intact(f"{MANIFEST} is missing, or is not what `vendor` has written")


class CommandTests(VendoringCase):
    """The same in this process: the files are those of a copy whose manifest says so."""

    def use_package(self, folder: Path, name: str = "myapp.ws") -> None:
        for attribute, value in (("PACKAGE", name), ("resources", mock.Mock(files=lambda _: folder))):
            patch = mock.patch.object(vendoring, attribute, value)
            patch.start()
            self.addCleanup(patch.stop)

    def test_copy_is_intact_or_is_not(self) -> None:
        self.vendor()
        self.use_package(self.copy)
        count = len(read(self.copy)) - 1
        py_compile.compile(os.fspath(self.copy / "config.py"), os.fspath(self.copy / "config.pyc"))
        self.assertEqual(vendoring.check_files(), f"{count}, as in {MANIFEST}")
        (self.copy / "config.py").write_text("# mine")
        with self.assertRaisesRegex(vendoring.VendoringError, f"changed: config.py; {WAY_OUT}$"):
            vendoring.check_files()
        (self.copy / MANIFEST).unlink()
        with self.assertRaisesRegex(vendoring.VendoringError, "is missing"):
            vendoring.check_files()

    def test_original_has_no_manifest(self) -> None:
        shutil.copytree(FOLDER, self.copy, ignore=IGNORED)
        self.use_package(self.copy, "wsbridge")
        self.assertRegex(vendoring.check_files(), "^not checked: only a copy made by `vendor` has ")

    def test_frozen_program(self) -> None:
        with mock.patch.object(vendoring, "IS_FROZEN", True):
            self.assertRegex(vendoring.check_files(), "^not checked: ")

    def test_selftest_says_what_was_tested(self) -> None:
        with mock.patch.object(vendoring, "IS_FROZEN", True):
            code, out, errors = self.command("selftest")
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(
            [line.partition(":")[0] for line in out.splitlines()], ["files", "codec", "server", "ok"]
        )

    def test_failure_is_one_line_that_says_where(self) -> None:
        error = OSError("no\nsockets")
        with (
            mock.patch.object(vendoring, "IS_FROZEN", True),
            mock.patch("socket.socketpair", side_effect=error),
        ):
            code, out, errors = self.command("selftest")
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(errors, r"^python3 -m \S+ selftest: error: OSError: no \(.*mock\.py:\d+\)\n$")

    def test_wrong_arguments_are_an_error_of_one_line(self) -> None:
        for arguments in (
            [],
            ["vendor"],
            ["vendor", "a", "b"],
            ["selftest", "a"],
            ["vendor", "a", "--only=b"],
        ):
            code, out, errors = self.command(*arguments)
            self.assertEqual((code, out), (2, ""))
            self.assertRegex(errors, rf"^python3 -m {PACKAGE}[a-z ]*: error: .* \(--help says more\)\n$")

    def test_help_and_version(self) -> None:
        self.assertEqual(self.command("--version"), (0, f"{PACKAGE} {VERSION}\n", ""))
        for arguments in (["--help"], ["vendor", "--help"], ["selftest", "--help"]):
            code, out, errors = self.command(*arguments)
            self.assertEqual((code, errors), (0, ""))
            self.assertRegex(out, rf"^usage: python3 -m {PACKAGE} ")

    def test_module_runs_it_for_the_two_words_and_without_a_server(self) -> None:
        for word, missing in (("vendor", "nothing"), ("selftest", "nothing"), ("a:b", f"{PACKAGE}.server")):
            with mock.patch.object(sys, "argv", ["", word]), mock.patch.object(vendoring, "main") as main:
                main.return_value = 7
                with without(missing), self.assertRaises(SystemExit) as caught:
                    runpy.run_module(f"{PACKAGE}.__main__", run_name="__main__")
            self.assertEqual(caught.exception.code, 7)


class RoundTripTests(unittest.TestCase):
    def test_everything_works_here(self) -> None:
        codec, server, result = selftest.run()
        self.assertEqual(codec, "codec: handshake, messages, compression, ping, close")
        self.assertEqual(server, "server: the same with an application")
        self.assertRegex(result, f"^ok: {PACKAGE}, wsbridge {VERSION}, on ")

    def test_without_zlib_and_without_a_server(self) -> None:
        with without("zlib", f"{PACKAGE}.server"):
            codec, _ = selftest.run()
        self.assertRegex(codec, "^codec: handshake, messages, no compression, as this Python has no zlib, ")

    def test_wrong_answer_is_found(self) -> None:
        digest = hashlib.sha256()
        with mock.patch("hashlib.sha1", return_value=digest), self.assertRaises(RuntimeError) as caught:
            selftest.run()
        self.assertRegex(str(caught.exception), r"^RFC 6455 1\.3: b'.*' instead of b's3pP")


if __name__ == "__main__":
    unittest.main()
