"""What type checkers know of keyword arguments is what `ServerConfig` takes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import unittest
from typing import get_type_hints

from wsbridge.config import ServerConfig
from wsbridge.server.options import ServerOptions


class OptionsTests(unittest.TestCase):
    def test_they_are_the_fields_in_their_order_and_of_their_types(self) -> None:
        types = get_type_hints(ServerConfig)
        fields = [(item.name, types[item.name]) for item in dataclasses.fields(ServerConfig)]
        self.assertEqual(list(get_type_hints(ServerOptions).items()), fields)

    def test_each_has_the_text_of_its_field(self) -> None:
        """Editors show it where a keyword argument is written."""
        (options_class,) = ast.parse(inspect.getsource(ServerOptions)).body
        assert isinstance(options_class, ast.ClassDef)
        texts = [ast.literal_eval(node.value) for node in options_class.body if isinstance(node, ast.Expr)]
        helps = [item.metadata["help"] for item in dataclasses.fields(ServerConfig)]
        self.assertEqual([" ".join(text.split()) for text in texts[1:]], helps)

    def test_each_may_be_left_out(self) -> None:
        self.assertEqual(ServerOptions.__required_keys__, frozenset())


if __name__ == "__main__":
    unittest.main()
