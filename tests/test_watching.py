"""Which files have changed: by looking, and as a child process tells."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import types
import unittest
from math import inf
from pathlib import Path
from typing import Any, Iterator, List, Set, Tuple
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.workers import watching
from wsbridge.server.workers.processes import Ends
from wsbridge.server.workers.watching import NotifiedWatcher, PollingWatcher, WatchedFiles, build_watcher

from .doubles import Clock
from .world import World


class FolderCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, *names: str, text: str = "") -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def find(self, **options: Any) -> WatchedFiles:
        options.setdefault("reload_dirs", (os.fspath(self.folder),))
        return WatchedFiles(ServerConfig(reload=True, **options))

    def list(self, **options: Any) -> List[str]:
        return sorted(os.path.relpath(path, self.folder) for path in self.find(**options).scan())


class FilesTests(FolderCase):
    def test_python_files_are_watched_and_what_is_not_the_applications_is_not(self) -> None:
        self.write("app.py", "page.html", "part/routes.py", ".git/hook.py", "part/__pycache__/a.py")
        self.write("web/node_modules/a/b.py", "env/pyvenv.cfg", "env/lib/c.py")
        self.assertEqual(self.list(), ["app.py", "part/routes.py"])

    def test_patterns_choose_others(self) -> None:
        self.write("app.py", "page.html", "part/routes.py", "part/page.html")
        found = self.list(reload_includes=("*.html", "*/part/*.py"), reload_excludes=("*/part/page.html",))
        self.assertEqual(found, ["page.html", "part/routes.py"])
        self.assertEqual(self.list(reload_excludes=("part",)), ["app.py"])

    def test_folder_is_that_of_the_application_by_default(self) -> None:
        self.assertEqual(self.find(reload_dirs=()).folders, [os.getcwd()])
        folder = os.fspath(self.folder)
        self.assertEqual(self.find(reload_dirs=(), app_dir=folder).folders, [folder])

    def test_folder_must_exist(self) -> None:
        with self.assertRaisesRegex(ConfigError, "^reload_dirs: 'no such' is no folder$"):
            self.find(reload_dirs=("no such",))

    def test_link_to_nothing_is_no_file(self) -> None:
        self.write("app.py")
        os.symlink("nothing", self.folder / "link.py")
        self.assertEqual(self.list(), ["app.py"])

    def test_number_of_files_is_limited(self) -> None:
        self.write("a.py", "b.py", "c.py")
        files = self.find()
        with mock.patch.object(watching, "MAX_FILES", 2), self.assertLogs("wsbridge", "WARNING") as logs:
            self.assertEqual([len(files.scan()), len(files.scan())], [2, 2])
        self.assertEqual(
            logs.output, ["WARNING:wsbridge.error:more than 2 files are watched: set reload_dirs"]
        )


class SlowClock(Clock):
    """Each look takes a second."""

    def __call__(self) -> float:
        self.advance(1)
        return super().__call__()


class PollingTests(FolderCase):
    def assert_changed(self, watcher: PollingWatcher, *names: str) -> None:
        self.assertEqual(watcher.look(), [os.fspath(self.folder / name) for name in names])

    def test_files_that_change_come_and_go_are_found_four_times_a_second(self) -> None:
        self.write("a.py", "b.py", "c.py")
        clock = Clock()
        watcher = PollingWatcher(self.find(), clock)
        self.write("a.py", text="1")
        (self.folder / "b.py").unlink()
        self.write("d.py")
        self.assert_changed(watcher)
        clock.advance(0.25)
        self.assert_changed(watcher, "a.py", "b.py", "d.py")
        self.write("a.py", text="12")
        self.assert_changed(watcher)
        self.assertEqual(watcher.next_look, clock() + 0.25)
        clock.advance(0.25)
        self.assert_changed(watcher, "a.py")
        watcher.close()

    def test_looks_that_take_long_are_rare(self) -> None:
        clock = SlowClock()
        watcher = PollingWatcher(self.find(), clock)
        self.assert_changed(watcher)
        self.assertEqual(watcher.next_look, Clock.__call__(clock) + 20)


class NotifiedTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        self.watcher = NotifiedWatcher(self.find(), self.world)

    def test_child_tells_of_changes(self) -> None:
        self.assertEqual((self.watcher.next_look, self.watcher.descriptors), (inf, (1,)))
        self.assertEqual(self.watcher.look(), [])
        self.world.running[1] = b"/b.py\0/a.py\0/a.p"
        self.assertEqual(self.watcher.look(), ["/a.py", "/b.py"])
        self.world.running[1] = b"y\0"
        self.assertEqual(self.watcher.look(), ["/a.py"])
        self.watcher.close()
        self.assertEqual(self.world.sent, [(1, 15)])

    def test_child_that_ends_is_told_of_once(self) -> None:
        self.world.end(1)
        with self.assertRaisesRegex(ChildProcessError, "^watchfiles has ended$"):
            self.watcher.look()
        self.assertEqual((self.watcher.look(), self.watcher.descriptors), ([], ()))
        self.watcher.close()
        self.assertEqual(self.world.sent, [])

    def work(self, *rounds: Set[Tuple[int, str]], ends: bool = False) -> List[bytes]:
        """What the child reports; after ``rounds`` its supervisor has ended, or `watch` itself ``ends``."""

        def watch(*folders: str, **options: Any) -> Iterator[Set[Tuple[int, str]]]:
            self.assertEqual(folders, (os.fspath(self.folder),))
            # Returns once a second, and raises nothing for a Ctrl-C, which is the supervisor's.
            self.assertEqual((options["rust_timeout"], options["yield_on_timeout"]), (1000, True))
            self.assertEqual(options["raise_interrupt"], False)
            yield from rounds
            os.close(supervisor)
            if ends:
                return
            yield {(1, os.fspath(self.folder / "late.py"))}
            raise AssertionError("it goes on")

        reports, report = os.pipe()
        end, supervisor = os.pipe()
        module = types.ModuleType("watchfiles")
        vars(module)["watch"] = watch
        with mock.patch.dict(sys.modules, watchfiles=module):
            self.assertEqual(self.world.works[0](Ends(report, end)), 0)
        os.close(report)
        os.close(end)
        with open(reports, "rb") as reader:
            return reader.read().split(b"\0")[:-1]

    def test_child_reports_files_that_are_watched_until_the_supervisor_has_ended(self) -> None:
        folder = os.fspath(self.folder)
        found = self.work({(1, f"{folder}/a.py"), (2, f"{folder}/a.txt")}, set(), {(1, f"{folder}/b.txt")})
        self.assertEqual(found, [os.fsencode(f"{folder}/a.py")])

    def test_child_ends_with_its_library(self) -> None:
        self.assertEqual(self.work(ends=True), [])


class ChoiceTests(FolderCase):
    def test_watchfiles_is_used_where_it_is_installed(self) -> None:
        world = World()
        for spec, kind in ((None, PollingWatcher), (object(), NotifiedWatcher)):
            with mock.patch.object(importlib.util, "find_spec", return_value=spec):
                self.assertIs(type(build_watcher(self.find(), world)), kind)


if __name__ == "__main__":
    unittest.main()
