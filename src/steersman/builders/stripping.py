"""Stripping: the code of a source file without its prose, and the prose of its docstrings without the code.

Two corpora that should differ in the skill they ask for must not share it: a Python file holds English in its comments
and docstrings, a C++ header a licence. Each function takes a file's text and returns what is left of it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import cast

Place = tuple[int, int]

_WORDS = frozenset(["the", "a", "an", "is", "are", "of", "to", "in", "and", "for", "that", "this", "it", "be", "by"])

_CODE = re.compile(r">>>|->|==|::|[{}\[\]<>|\\=@`]|\w\(|\w_\w|--|\.\.\.|\*\w|https?:|\w\.\w\w")
"""What a paragraph of plain prose does not hold: prompts, signatures, operators, names of code, addresses."""

_LICENCE = re.compile(r"copyright|licen[cs]e|warrant(y|ies)|all rights reserved", re.IGNORECASE)


def python_code(text: str) -> str:
    """Return Python source without docstrings, bare strings and comments, its layout otherwise kept; valid Python.

    A body of nothing but a docstring becomes `pass`. Lines that held nothing else are dropped.

    Args:
        text: the source.

    Returns:
        An empty text where the source is not valid Python of the running version.
    """
    try:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        tree = ast.parse("\n".join(lines))
        changed = _without_strings(lines, tree)
        _without_comments(lines, changed)
        kept = [line for number, line in enumerate(lines) if number not in changed or line.strip()]
        found = "\n".join(kept).strip("\n")
        ast.parse(found)
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return ""
    return found


def _without_strings(lines: list[str], tree: ast.AST) -> set[int]:
    """Take the bare strings out of the lines; return the numbers of those that changed."""
    changed: set[int] = set()
    for node, alone in sorted(_bare_strings(tree), key=lambda each: (each[0].lineno, each[0].col_offset), reverse=True):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        # Columns of the tree are bytes.
        before = lines[first].encode()[: node.col_offset].decode()
        after = lines[last].encode()[node.end_col_offset :].decode()
        # Where more stands on the line, something has to be left between.
        lonely = not before.strip() and not after.partition("#")[0].strip()
        lines[first] = before + ("" if lonely and not alone else "pass") + after
        for number in range(first + 1, last + 1):
            lines[number] = ""
        changed.update(range(first, last + 1))
    return changed


def _bare_strings(tree: ast.AST) -> Iterator[tuple[ast.Expr, bool]]:
    """Yield every statement that is a string, and whether it has to be replaced for its body not to be empty."""
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if not isinstance(body, list):  # a lambda's body is an expression
                continue
            body = cast(list[ast.stmt], body)
            bare = [each for each in body if isinstance(each, ast.Expr) and _is_string(each)]
            for each in bare:
                yield each, len(bare) == len(body) and each is bare[0] and not isinstance(parent, ast.Module)


def _is_string(statement: ast.Expr) -> bool:
    return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def _without_comments(lines: list[str], changed: set[int]) -> None:
    source = io.StringIO("\n".join(lines) + "\n")
    comments = [token.start for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.COMMENT]
    for row, column in comments:
        lines[row - 1] = lines[row - 1][:column].rstrip()
        changed.add(row - 1)


def prose(text: str) -> list[str]:
    """Return the paragraphs of plain English in the docstrings of Python source, each on one line, none twice.

    A paragraph counts as prose when it begins with a capital letter and ends a sentence, has eight words or more, some
    of them small ones of English, and holds nothing that looks like code, a signature, a session or a licence.

    Args:
        text: the source; nothing is found in what is not valid Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in re.split(r"\n[ \t]*\n", ast.get_docstring(node) or ""):
                line = " ".join(paragraph.split())
                indented = any(row[:1].isspace() for row in paragraph.split("\n"))
                if not indented and _is_prose(line):
                    found[line] = None
    return list(found)


def _is_prose(line: str) -> bool:
    words = re.findall(r"[A-Za-z']+", line)
    return (
        len(words) >= 8
        and line[0].isupper()
        and line[-1] in ".!?"
        and len(_WORDS & {word.lower() for word in words}) >= 2
        and sum(map(len, words)) >= 0.75 * len(line)
        and not _CODE.search(line)
        and not _LICENCE.search(line)
    )


_CPP = re.compile(
    r"""
    (?P<kept> R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)" | "(?:\\.|[^"\\\n])*" | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*' )
    | //(?:\\\n|[^\n])* | /\*.*?\*/
    """,
    re.VERBOSE | re.DOTALL,
)


def cpp_code(text: str) -> str:
    """Return C or C++ source without comments, and so without licence headers; strings and layout stay.

    Args:
        text: the source. Lines that held nothing but a comment are dropped.
    """

    def blank(match: re.Match[str]) -> str:
        # A mark where a comment was, so that lines left empty by one can be told from empty lines.
        return match["kept"] or "\0" + "\n\0" * match[0].count("\n")

    lines = _CPP.sub(blank, text.replace("\r\n", "\n").replace("\0", "")).split("\n")
    kept = [line.replace("\0", "").rstrip() for line in lines if "\0" not in line or line.replace("\0", "").strip()]
    return "\n".join(kept).strip("\n")
