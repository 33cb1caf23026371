"""The environment: which variables set which option, and what is said about others."""

from __future__ import annotations

import unittest
from dataclasses import fields
from typing import Any

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.command.environment import OTHERS, UVICORN_NAMES, read_environment
from wsbridge.server.command.flags import build_flag

# A text for fields of each kind, and its value.
TEXTS = {"int": ("7", 7), "float": ("7", 7.0), "str": ("7", "7"), "bool": ("1", True)}
LISTS = {"Tuple[str, ...": ("7", ("7",)), "Sequence[Tuple[str, str": ("7:8", [("7", "8")])}


class VariableTests(unittest.TestCase):
    def assert_values(self, expected: Any, **environ: str) -> None:
        self.assertEqual(read_environment(environ).values, expected)

    def test_every_flag_has_a_variable(self) -> None:
        for item in fields(ServerConfig):
            kind = str(item.type).replace("Optional[", "").rstrip("]")
            text, value = {**TEXTS, **LISTS}[kind]
            variable = "WSBRIDGE_" + build_flag(item)[2:].upper().replace("-", "_")
            found = read_environment({variable: text})
            self.assertEqual(found, ({item.name: value}, {item.name: variable}, []))

    def test_application_has_one_too(self) -> None:
        self.assert_values({"app": "a:b"}, WSBRIDGE_APP="a:b", UVICORN_APP="c:d")
        self.assert_values({"app": "c:d"}, UVICORN_APP="c:d")

    def test_ours_come_before_those_of_uvicorn(self) -> None:
        names = ("WSBRIDGE_FORWARDED_ALLOW_IPS", "UVICORN_FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS")
        for first in range(len(names)):
            environ = {name: name for name in reversed(names[first:])}
            self.assert_values({"forwarded_allow_ips": names[first]}, **environ)

    def test_variables_that_uvicorn_reads_without_its_prefix(self) -> None:
        self.assertEqual(UVICORN_NAMES["workers"], "WEB_CONCURRENCY")

    def test_empty_variable_sets_nothing(self) -> None:
        self.assert_values({}, WSBRIDGE_PORT="", WSBRIDGE_APP="")
        self.assert_values({"port": 5}, WSBRIDGE_PORT="", UVICORN_PORT="5")

    def test_headers_are_not_read_as_uvicorn_separates_them(self) -> None:
        self.assert_values({}, UVICORN_HEADER="X-A:b X-C:d")

    def test_other_variables_are_left_alone(self) -> None:
        found = read_environment({"PORT": "1", "HOST": "a", "UVICORN_WS": "auto", "wsbridge_port": "1"})
        self.assertEqual(found, ({}, {}, []))


class WrongVariableTests(unittest.TestCase):
    def assert_error(self, text: str, **environ: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            read_environment(environ)
        self.assertEqual(str(caught.exception), text)

    def test_value_that_its_option_cannot_have(self) -> None:
        self.assert_error("WSBRIDGE_PORT='x': it must be a whole number from 0 to 65535", WSBRIDGE_PORT="x")
        text = "UVICORN_FACTORY='x': it must be one of 1, true, yes, on, 0, false, no, off"
        self.assert_error(text, UVICORN_FACTORY="x")

    def test_variable_that_kubernetes_has_set(self) -> None:
        hint = "Kubernetes sets it for a service of that name, unless enableServiceLinks is false"
        link = "tcp://10.0.0.1:8000"
        self.assert_error(
            f"WSBRIDGE_PORT='{link}': it must be a whole number from 0 to 65535; {hint}", WSBRIDGE_PORT=link
        )

    def test_unknown_variable_of_ours_is_told_the_nearest(self) -> None:
        text = "WSBRIDGE_WS_MAXSIZE is set in the environment, but there is no such option"
        found = read_environment({"WSBRIDGE_WS_MAXSIZE": "5", "WSBRIDGE_": "5"})
        near = f"{text}: did you mean WSBRIDGE_WS_MAX_SIZE?"
        other = "WSBRIDGE_ is set in the environment, but there is no such option"
        self.assertEqual(found, ({}, {}, [near, other]))

    def test_variables_that_are_read_elsewhere_are_known(self) -> None:
        self.assertEqual(read_environment(dict.fromkeys(OTHERS, "1")).unknown, [])


if __name__ == "__main__":
    unittest.main()
