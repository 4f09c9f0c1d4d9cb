"""Documents: files with names, cut into texts, dealt out to train, validation and test by the hash of their names.

A file's split depends on its name alone: it stays where it is when files are added or left out, and it is the same in
every corpus, so that the docstrings of a file never test what its code was trained on.
"""

import hashlib
import os
import sysconfig
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, final

from steersman.builders.corpora import files_of
from steersman.builders.stripping import cpp_code, prose, python_code
from steersman.errors import DataError, InputError
from steersman.prompts import Passage, Split

BuiltIn = Literal["python", "english", "cpp"]

SHARES: dict[Split, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""How many of the files each split gets; most for training, whose mean is what a vector is made of."""

LEFT_OUT = frozenset(["site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"])
"""Folders of the standard library that are no part of it, or hold broken code on purpose."""

SHORTEST = 0.6
"""Of the length asked for; a shorter text is left out, so that texts weigh about the same."""


@final
@dataclass(frozen=True)
class Document:
    """One file, or one record of a file of records.

    Args:
        name: relative, with `/` between folders; it decides the split.
        read: returns the text, empty where nothing of it is of use.
        path: the file, of a document that is all of one.
    """

    name: str
    read: Callable[[], str]
    path: Path | None = None


def built_in_documents(name: BuiltIn) -> list[Document]:
    """Return the documents that every installation has.

    Args:
        name: `python`, the standard library of the running interpreter without docstrings and comments; `english`, the
            plain prose of its docstrings; `cpp`, the C++ headers that the package torch installs, without comments.

    Raises:
        DataError: where there is no such file.
    """
    if name == "cpp":
        spec = find_spec("torch")
        root = Path(spec.origin).parent / "include" if spec is not None and spec.origin else Path("torch/include")
        found = [path for path in files_of(root) if path.suffix in (".h", ".hpp", ".cuh")] if root.is_dir() else []
        documents = [Document(_named(path, root), lambda path=path: cpp_code(_text(path))) for path in found]
    else:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))
        strip = python_code if name == "python" else _paragraphs
        documents = [Document(_named(path, root), lambda path=path: strip(_text(path))) for path in found]
    if not documents:
        raise DataError(
            f"expected files for the built-in corpus {name} below {root}, got none; give a path in its place"
        )
    return documents


def file_documents(source: str | Path) -> list[Document]:
    """Return the documents of a file, of a folder, or of a pattern such as `src/**/*.py`.

    Args:
        source: where; what is not UTF-8 text counts as empty.

    Raises:
        DataError: where there is no file.
    """
    path = Path(source).expanduser()
    found = [path] if path.is_file() else files_of(path)
    if not found:
        raise DataError(f"expected a file, a folder or a pattern with files below it, got {str(source)!r}")
    # Names must not say where on this machine the files lie, or a moved folder would be dealt out anew.
    root = path if path.is_dir() else Path(os.path.commonpath([each.parent for each in found]))
    return [Document(_named(each, root), lambda each=each: _text(each), each) for each in found]


def split_of(name: str) -> Split:
    """Return the split of a document, by the hash of its name alone."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


def drawn(
    groups: Sequence[Sequence[Document]],
    split: Split,
    count: int,
    *,
    characters: int,
    seed: int = 0,
    taken: set[str] | None = None,
) -> list[Passage]:
    """Return texts of one split, in equal parts from several groups of documents, as few as possible from one document.

    Every document gives one text before any gives a second one; which comes first is drawn.

    Args:
        groups: the documents of each source.
        split: `train`, `validation` or `test`.
        count: how many texts, at least 1; fewer where there are no more.
        characters: the longest text; texts below `SHORTEST` of it are left out.
        seed: of the draw.
        taken: texts that were drawn before and are not drawn again; those drawn here are added to it.

    Raises:
        InputError: for a count or a length below 1.
    """
    if count < 1 or characters < 1:
        raise InputError(f"expected at least 1 text of at least 1 character, got {count} of {characters}")
    known = set[str]() if taken is None else taken
    texts: list[Passage] = []
    streams = [_stream(documents, split, characters, seed, known) for documents in groups]
    # One from each source in turn, so that all weigh the same for as long as they last.
    while streams and len(texts) < count:
        for stream in list(streams):
            found = next(stream, None)
            if found is None:
                streams.remove(stream)
            elif len(texts) < count:
                known.add(_key(found.text))
                texts.append(found)
    return texts


def _stream(
    documents: Iterable[Document], split: Split, characters: int, seed: int, taken: set[str]
) -> Iterator[Passage]:
    """Yield a split's texts: one of every document in a drawn order, then a second one of each, and so on."""
    mine = sorted(
        (each for each in documents if split_of(each.name) == split), key=lambda each: _order(each.name, seed)
    )
    rest: list[tuple[str, list[str]]] = []
    # Read only as many as are asked for: a corpus may have thousands.
    for document in mine:
        parts = [part for part in pieces(document.read(), characters) if len(part) >= SHORTEST * characters]
        parts.sort(key=lambda part: _order(part, seed))
        rest.append((document.name, parts))
        yield from _next(document.name, parts, taken)
    while rest:
        rest = [(name, parts) for name, parts in rest if parts]
        for name, parts in rest:
            yield from _next(name, parts, taken)


def _next(name: str, parts: list[str], taken: set[str]) -> Iterator[Passage]:
    """Yield the next of a document's texts that was not drawn before, where there is one, and take it off the list."""
    while parts:
        part = parts.pop(0)
        if _key(part) not in taken:
            yield Passage(f"{name}#{hashlib.sha256(part.encode()).hexdigest()[:8]}", part)
            return


def pieces(text: str, characters: int) -> list[str]:
    """Return a text in pieces of at most so many characters, cut between lines, or words where a line is longer.

    Args:
        text: any.
        characters: at least 1.
    """
    found: list[str] = []
    start = 0
    while start < len(text):
        end = start + characters
        if end < len(text):
            # A line's end in the second half, else a blank, else where it is full.
            breaks = (text.rfind("\n", start + characters // 2, end + 1), text.rfind(" ", start + 1, end + 1))
            end = next((place for place in breaks if place > start), end)
        part = text[start:end].strip("\n").rstrip()
        if part.strip():
            found.append(part)
        start = end
    return found


def _paragraphs(text: str) -> str:
    return "\n\n".join(prose(text))


def _text(path: Path) -> str:
    """Return a file's text, empty where it is none: Python says its encoding itself, all else is UTF-8."""
    try:
        if path.suffix == ".py":
            with tokenize.open(path) as file:
                return file.read()
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, SyntaxError):
        return ""
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _named(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _key(text: str) -> str:
    """Return what makes two texts the same: their words."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def _order(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}|{text}".encode()).digest()
