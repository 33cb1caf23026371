"""``module:attribute``: what is found, and what is told where nothing is."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any

from wsbridge.protocols.errors import ConfigError
from wsbridge.server.loading import LoadingFailed, load_application

MODULE = """
async def app(scope, receive, send): ...
class Factory:
    made = app
number = 5
def create():
    return app
def returns_nothing(setting=None): ...
async def creates_late():
    return app
async def decorated(scope, receive, send): ...
decorated.__wrapped__ = create
class OneCallable:
    def __init__(self, scope): ...
def wsgi(environ, start_response): ...
def FourArguments(one, two, three, four): ...
def creates_factory():
    return create
"""


class LoadingCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        path, modules = sys.path[:], set(sys.modules)
        self.addCleanup(sys.path.__setitem__, slice(None), path)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - modules])
        self.write("served_application", MODULE)

    def write(self, name: str, source: str) -> None:
        Path(self.folder, f"{name}.py").write_text(source)

    def assert_fails(self, target: str, text: str, **options: Any) -> LoadingFailed:
        with self.assertRaises(LoadingFailed) as caught:
            load_application(target, **options)
        self.assertEqual(str(caught.exception), text)
        return caught.exception


class FoundTests(LoadingCase):
    def test_attribute_of_a_module_in_the_working_directory(self) -> None:
        app = load_application("served_application:app")
        self.assertIs(app, sys.modules["served_application"].app)

    def test_attribute_of_an_attribute(self) -> None:
        app = load_application("served_application:Factory.made")
        self.assertIs(app, sys.modules["served_application"].app)

    def test_module_in_a_package(self) -> None:
        os.mkdir("served_package")
        self.write("served_package/__init__", "")
        self.write("served_package/asgi", MODULE)
        app = load_application("served_package.asgi:app")
        self.assertEqual(app.__module__, "served_package.asgi")

    def test_working_directory_comes_first_and_once(self) -> None:
        for _ in range(2):
            load_application("served_application:app")
            self.assertEqual(sys.path[0], self.folder)
            self.assertEqual(sys.path.count(self.folder), 1)

    def test_folder_of_applications_comes_first_and_once(self) -> None:
        os.mkdir("below")
        self.write("below/served_below", MODULE)
        for folder in ("below", os.path.join(self.folder, "below")):
            load_application("served_below:app", folder)
            self.assertEqual(sys.path[0], os.path.join(self.folder, "below"))
        self.assertEqual(sys.path.count(sys.path[0]), 1)
        self.assertNotIn(self.folder, sys.path)

    def test_folder_that_does_not_exist(self) -> None:
        self.assert_fails(
            "served_application:app", "app_dir='nowhere': there is no such folder", app_dir="nowhere"
        )


class FactoryTests(LoadingCase):
    def test_what_the_factory_returns_is_the_application(self) -> None:
        app = load_application("served_application:create", factory=True)
        self.assertIs(app, sys.modules["served_application"].app)

    def test_factory_that_returns_no_application(self) -> None:
        text = "factory 'served_application:returns_nothing' returned no ASGI application: NoneType"
        self.assert_fails("served_application:returns_nothing", text, factory=True)

    def test_factory_that_returns_what_takes_no_arguments(self) -> None:
        text = "factory 'served_application:creates_factory' returned no ASGI application: function"
        self.assert_fails("served_application:creates_factory", text, factory=True)

    def test_factory_that_is_a_coroutine_function(self) -> None:
        text = "factory 'served_application:creates_late' is a coroutine function: it must be a plain one"
        with warnings.catch_warnings(record=True) as never_awaited:
            self.assert_fails("served_application:creates_late", f"{text}, which returns", factory=True)
            gc.collect()
        self.assertEqual(never_awaited, [])

    def test_factory_that_raises_is_the_cause(self) -> None:
        self.write("served_broken", "def create():\n    raise KeyError('setting')")
        text = "factory 'served_broken:create' raised KeyError: 'setting'"
        error = self.assert_fails("served_broken:create", text, factory=True)
        self.assertIsInstance(error.__cause__, KeyError)

    def test_factory_that_is_served_itself_is_told_apart(self) -> None:
        for name in ("create", "returns_nothing", "creates_late"):
            target = f"served_application:{name}"
            text = f"{target!r} takes no arguments, as a factory of applications: set factory (--factory)"
            self.assert_fails(target, text)

    def test_what_may_be_an_application_is_none(self) -> None:
        # Many callables written in C have no signature. A decorator may keep the signature of the function
        # that it has made an application of.
        for target in ("decorated", "FourArguments"):
            self.assertTrue(callable(load_application(f"served_application:{target}")))
        self.assertTrue(callable(load_application("builtins:dict")))

    def test_application_of_another_interface_is_told_what_wraps_it(self) -> None:
        for name, text in (
            (
                "OneCallable",
                "1 of 3 arguments, as an ASGI 2 application: asgiref.compatibility.guarantee_single_callable",
            ),
            ("wsgi", "2 of 3 arguments, as a WSGI application: asgiref.wsgi.WsgiToAsgi"),
        ):
            target = f"served_application:{name}"
            self.assert_fails(target, f"{target!r} takes {text} wraps it")
            self.write(
                "served_factory", f"from served_application import {name}\ndef {name}_():\n    return {name}"
            )
            sys.modules.pop("served_factory", None)
            target = f"served_factory:{name}_"
            self.assert_fails(target, f"what factory {target!r} returned takes {text} wraps it", factory=True)


class NotFoundTests(LoadingCase):
    def test_what_is_not_of_the_form_is_told_the_form(self) -> None:
        for target in ("", ":", "served_application", "served_application:", ":app"):
            text = f"{target!r} is not of the form module:attribute, such as myapp.asgi:app"
            self.assert_fails(target, text)

    def test_unknown_module(self) -> None:
        error = self.assert_fails(
            "served_nowhere:app",
            "cannot import 'served_nowhere': ModuleNotFoundError: No module named 'served_nowhere'",
        )
        self.assertIsInstance(error.__cause__, ModuleNotFoundError)

    def test_file_is_told_its_module(self) -> None:
        with self.assertRaisesRegex(ConfigError, "cannot import 'served_x.py': .*; write served_x:app$"):
            load_application("served_x.py:app")

    def test_path_is_told_its_module(self) -> None:
        for path in ("./served_x.py", "./served_x", os.path.join(".", "served_x.py")):
            with self.assertRaisesRegex(ConfigError, "; write served_x:app$"):
                load_application(f"{path}:app")
        for path in ("served_y/x.py", "served_y/x"):
            with self.assertRaisesRegex(ConfigError, r"; write served_y\.x:app$"):
                load_application(f"{path}:app")

    def test_path_outside_of_the_working_directory_is_told_no_module(self) -> None:
        for path in ("/served_y/x.py", "../x.py", ".py"):
            with self.assertRaisesRegex(ConfigError, r"^cannot import '[^;]*$"):
                load_application(f"{path}:app")

    def test_module_that_raises(self) -> None:
        self.write("served_broken", "raise KeyError('setting')")
        error = self.assert_fails("served_broken:app", "cannot import 'served_broken': KeyError: 'setting'")
        self.assertIsInstance(error.__cause__, KeyError)

    def test_module_name_that_cannot_be_one(self) -> None:
        with self.assertRaisesRegex(ConfigError, r"^cannot import '\.x': TypeError: "):
            load_application(".x:app")

    def test_unknown_attribute(self) -> None:
        for attribute in ("nothing", "Factory.nothing", "app..b", "."):
            text = f"'served_application' has no attribute {attribute!r}"
            self.assert_fails(f"served_application:{attribute}", text)

    def test_attribute_that_is_not_callable(self) -> None:
        text = "'served_application:number' is no ASGI application: int cannot be called"
        self.assert_fails("served_application:number", text)


if __name__ == "__main__":
    unittest.main()
