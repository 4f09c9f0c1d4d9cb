"""Stripping: code without prose and prose without code, on planted files and on the running interpreter's library."""

import ast
import io
import sysconfig
import tokenize
from pathlib import Path

import pytest

from steersman.builders.stripping import cpp_code, prose, python_code

SOURCE = '''#!/usr/bin/env python
"""A module that says a lot."""  # and more

import os  # needed

def f(x):
    """Return it. # not a comment"""

def g(x):
    'one line'; y = "# kept"
    # gone
    return [  # gone as well
        x,
        # inside
        y,
    ]

class A:
    """Only words."""
    "and more of them"

class B:
    """Words."""
    size = 3
    """Of an attribute."""
    def h(self): "on one line"
    text = f"""
    # this is text, {size}
    """
ä = "é"  # ünïcode
'''


def test_docstrings_and_comments_go_and_all_else_stays():
    found = python_code(SOURCE)
    for gone in (
        "says a lot",
        "needed",
        "gone",
        "inside",
        "Only words",
        "Of an attribute",
        "one line",
        "Return it",
        "ünï",
    ):
        assert gone not in found
    for stays in ('y = "# kept"', "# this is text, {size}", "def h(self): pass", 'ä = "é"', "import os"):
        assert stays in found
    assert "class A:\n    pass" in found
    assert "\n\n\n" not in found.split("class")[0]
    space: dict[str, object] = {}
    exec(compile(found, "found", "exec"), space)
    assert space["g"](1) == [1, "# kept"]  # type: ignore[operator]


def stripped_tree(text: str) -> str:
    """The syntax tree without bare strings, as the definition has it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                kept = [each for each in body if not (isinstance(each, ast.Expr) and is_string(each.value))]
                kept = [each for each in kept if not isinstance(each, ast.Pass)]
                body[:] = kept
    return ast.dump(tree)


def is_string(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


@pytest.mark.parametrize(
    "name", ["textwrap", "argparse", "dataclasses", "typing", "enum", "json/decoder", "ast", "turtle"]
)
def test_the_librarys_code_keeps_its_meaning_and_loses_its_prose(name):
    text = (Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py").read_text(encoding="utf-8")
    found = python_code(text)
    assert stripped_tree(found) == stripped_tree(text)
    tokens = list(tokenize.generate_tokens(io.StringIO(found).readline))
    assert not [token for token in tokens if token.type == tokenize.COMMENT]
    strings = [n for n in ast.walk(ast.parse(found)) if isinstance(n, ast.Expr) and is_string(n.value)]
    assert not strings


def test_what_is_no_python_gives_nothing():
    assert python_code("def f(:\n") == ""
    assert python_code("x = 1\0") == ""
    assert prose("def f(:\n") == []
    assert python_code('"""Only words."""\n# and more\n') == ""


DOCSTRINGS = '''
def f():
    """Return the number of things that are in the box of the user.

    f(x, y) -> the result of a call is not prose and is therefore left out.

    >>> print("the number of things that are in a session is left out")

        This is indented, so that it is an example of the code and is left out.

    - a bullet that begins with no capital letter is left out of the prose.

    Copyright of the authors, and all of the licence that is in the file.

    Too short.

    A paragraph of prose may run over
    two lines, and it is joined to one of them.
    """

def g():
    """Return the number of things that are in the box of the user."""
'''


def test_only_plain_paragraphs_are_prose_and_each_comes_once():
    assert prose(DOCSTRINGS) == [
        "Return the number of things that are in the box of the user.",
        "A paragraph of prose may run over two lines, and it is joined to one of them.",
    ]


def test_c_comments_go_and_strings_stay():
    text = (
        "/* Copyright\n * of somebody\n */\n#pragma once\n\nint f(int x); // what it does\n"
        'const char* s = "// no comment /* at all */"; char c = \'"\'; /* gone */ int y;\n'
        "// a line \\\n that goes on\nint z = 1'000'000; // gone\n"
        'auto r = R"x(/* raw */)x";\n'
    )
    assert cpp_code(text) == (
        "#pragma once\n\nint f(int x);\n"
        'const char* s = "// no comment /* at all */"; char c = \'"\';  int y;\n'
        "int z = 1'000'000;\n"
        'auto r = R"x(/* raw */)x";'
    )
