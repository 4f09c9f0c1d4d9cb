"""The study's texts: from wherever a corpus comes, split by file, no text twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from steersman.builders.documents import BuiltIn, Document, built_in_documents, drawn, file_documents
from steersman.errors import DataError
from steersman.prompts import Passage, Row, Split, jsonl_rows
from steersman.samples.hub import PREFIX, hub_rows
from steersman.studies.skills.config import Role, SkillsConfig, SourceConfig

LEAST = 4
"""Texts below which a split says nothing, whatever was asked for; fewer where fewer were asked for."""


@dataclass(frozen=True)
class Corpus:
    """One skill's texts.

    Args:
        name: as in tables.
        role: `keep`, `remove` or `watch`.
        source: where they come from, for people.
        train: for the vectors.
        validation: for the choice.
        test: for the report.
    """

    name: str
    role: Role
    source: str
    train: tuple[Passage, ...]
    validation: tuple[Passage, ...]
    test: tuple[Passage, ...]


def read_corpora(config: SkillsConfig) -> dict[str, Corpus]:
    """Return every corpus of the study, in the configuration's order.

    Splits are of different files, by a hash of the file's name; of JSONL and of the hub's sets, of different records.
    No text is in two splits or in two corpora.

    Raises:
        DataError: for a source that cannot be read, or a split that has hardly any text.
    """
    texts = config.texts
    counts: dict[Split, int] = {"test": texts.test, "validation": texts.validation, "train": texts.train}
    taken: set[str] = set()
    held: dict[str, list[Document]] = {}
    found: dict[str, Corpus] = {}
    for name, corpus in config.corpora.items():
        groups: list[list[Document]] = []
        for source in corpus.sources:
            key = source.model_dump_json()
            if key not in held:
                held[key] = documents(source)
            groups.append(held[key])
        parts: dict[Split, tuple[Passage, ...]] = {}
        for split, count in counts.items():
            part = drawn(groups, split, count, characters=texts.characters, seed=config.seed, taken=taken)
            if len(part) < min(LEAST, count):
                raise DataError(
                    f"corpus {name}: expected at least {min(LEAST, count)} texts of {texts.characters} characters in "
                    f"files of the split {split}, got {len(part)}; give more files or a JSONL with more records, or "
                    "set texts.characters lower"
                )
            parts[split] = tuple(part)
        words = " + ".join(each.source for each in corpus.sources)
        found[name] = Corpus(name, corpus.role, words, parts["train"], parts["validation"], parts["test"])
    return found


def documents(source: SourceConfig) -> list[Document]:
    """Return the documents of one source.

    Raises:
        DataError: for one that cannot be read.
    """
    name = source.source
    if name in get_args(BuiltIn):
        return built_in_documents(cast(BuiltIn, name))
    if name.startswith(PREFIX):
        # A set without a test split is as good: we split the records ourselves.
        return list(_records(hub_rows(name, "train", limit=source.rows), source))
    files = file_documents(name)
    return [
        part
        for each in files
        for part in (
            _records(jsonl_rows(each.path), source, each.name)
            if each.path is not None and each.path.suffix == ".jsonl"
            else [each]
        )
    ]


def _records(rows: Iterator[Row], source: SourceConfig, name: str | None = None) -> Iterator[Document]:
    """Yield a document for every record that has the wanted values; its name is that of the file and the record."""
    for row in rows:
        wanted = all(_field(row.record, key) == value for key, value in source.only.items())
        if not wanted or any(_field(row.record, key) == value for key, value in source.without.items()):
            continue
        text = _field(row.record, source.field)
        if not isinstance(text, str):
            came = "nothing" if text is None else repr(text)[:60]
            raise DataError(f"{row.source}, {row.place}: expected {source.field!r} as a text, got {came}")
        stem = row.id if name is None else f"{name}:{row.place.removeprefix('line ')}"
        yield Document(stem, lambda text=text: text)


def _field(record: Mapping[str, Any], path: str) -> Any:
    """Return a field of a record, `meta.name` for one within another; `None` where there is none."""
    found: Any = record
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
