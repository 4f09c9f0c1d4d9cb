"""Items of every kind from a source, by the field names of the well-known sets."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from steersman.builders.behaviours import behaviour_pair
from steersman.builders.corpora import corpus
from steersman.errors import DataError, InputError
from steersman.prompts import (
    Folder,
    Pair,
    Passage,
    PromptItem,
    Question,
    Record,
    Row,
    Split,
    built_in_sets,
    collect,
    passage_item,
    prompt_item,
    question_item,
    text_field,
)
from steersman.samples.files import DELIMITERS, LETTERS, file_rows, folder_rows, read_text
from steersman.samples.hub import PREFIX, hub_rows

PROMPTS = ("prompt", "goal", "Goal", "instruction", "question", "Behavior")
"""Where a prompt stands: ours; AdvBench; JailbreakBench; Alpaca; TruthfulQA; HarmBench, as a column of its CSV file."""
CATEGORIES = ("category", "Category", "SemanticCategory")
TEXTS = ("text", "content", "code")
PIECE = 600
"""Characters of a piece of a text that is not cut at blank lines."""

T = TypeVar("T")


def prompt_items(source: str | Path, *, split: Split | None = "test") -> list[PromptItem]:
    """Return the prompts of a source.

    Args:
        source: as the package says; a `.txt` file holds one prompt a line.
        split: only the records of that split, where the source says splits; `None` takes all.

    Raises:
        InputError: for a hub source that is written otherwise, or without the package `datasets`.
        DataError: for a source that is not there, an empty one or a bad record, with file and line.
    """
    if _suffix(source) == ".txt":
        return collect(str(source), _line_rows(Path(source).expanduser()), prompt_item, split)
    return _items(source, _prompt, split)


def question_items(source: str | Path = "knowledge", *, split: Split | None = "test") -> list[Question]:
    """Return the questions of a source in MMLU's form: `question, choices, answer`, optionally `subject`.

    Args:
        source: as the package says; in a table the choices may stand in columns `A`, `B` and so on.
        split: only the records of that split, where the source says splits; `None` takes all.

    Raises:
        InputError: as `prompt_items`.
        DataError: as `prompt_items`.
    """
    return _items(source, _question, split)


def example_items(source: str | Path = "knowledge") -> list[Question]:
    """Return the answered examples that belong to a source of questions, for shots.

    Those are the split `dev` of a data set of the hub or of a folder, the file beside `test.jsonl` or `NAME_test.csv`
    that is called `dev` instead, and a file's own validation split, which is what the built-in set has.

    Args:
        source: as for `question_items`.

    Raises:
        InputError: as `prompt_items`.
        DataError: when there are none; also as `prompt_items`.
    """
    try:
        return collect(str(source), _plain(_example_rows(source)), _question, "validation")
    except DataError as error:
        raise DataError(f"expected examples that belong to {str(source)!r}; give their file ({error})") from None


def behaviour_items(source: str | Path, *, split: Split | None = "test") -> list[Pair]:
    """Return behaviour items, a question answered with the behaviour (positive) and without it (negative).

    Args:
        source: as the package says, with the built-in sets `myopia`, `wealth-seeking`, `sycophancy`, `agreeableness`
            and `risk-taking`; in the form of the model-written evaluations: `question, answer_matching_behavior,
            answer_not_matching_behavior`.
        split: only the records of that split, where the source says splits; `None` takes all.

    Raises:
        InputError: as `prompt_items`.
        DataError: as `prompt_items`.

    Reference: Perez et al. (2022), "Discovering language model behaviors with model-written evaluations", for the form;
    the items of the built-in sets were written for this project.
    """
    return _items(source, behaviour_pair, split, "behaviours")


def text_items(
    source: str | Path = "prose",
    *,
    split: Split | None = "test",
    field: str | None = None,
    chars: int | None = None,
) -> list[Passage]:
    """Return plain texts.

    Args:
        source: as the package says, with a text a record. Of other files, such as `.txt` or `.py`, and folders of them
            the texts are pieces.
        split: only the records of that split, where the source says splits; `None` takes all.
        field: where a record's text stands; else in `text`, `content` or `code`, the first that is there.
        chars: length of the longest piece, characters, cut between two words; where not given, `.txt` files are cut at
            blank lines, where pieces of one word are left out, and other files at 600 characters.

    Raises:
        InputError: as `prompt_items`; also for a length below 1.
        DataError: as `prompt_items`.
    """
    known = str(source) in built_in_sets("tasks") or str(source).startswith(PREFIX)
    if not known and _suffix(source) not in (".jsonl", ".json", *DELIMITERS):
        path = Path(source).expanduser()
        if not path.exists():
            raise _missing(source)
        if path.suffix == ".txt" and chars is None:
            texts = [piece.strip() for piece in re.split(r"\n[^\S\n]*\n", read_text(path).replace("\r\n", "\n"))]
            texts = [text for text in texts if len(text.split()) > 1]
        else:
            texts = [example.completion for example in corpus(path, limit=None, chars=chars or PIECE)]
        if not texts:
            raise DataError(f"{path}: expected at least one text of two words, got none")
        return [Passage(f"{path.stem}-{number}", text) for number, text in enumerate(texts, start=1)]
    return _items(source, lambda record: _passage(record, field, chars), split)


def _items(source: str | Path, parse: Callable[[Record], T], split: Split | None, folder: Folder = "tasks") -> list[T]:
    """Return one item a record of any kind of source but plain text; built-in sets stand in the folder."""
    return collect(str(source), _plain(_rows(source, split, folder)), parse, split)


def _rows(source: str | Path, split: Split | None, folder: Folder = "tasks") -> Iterator[Row]:
    text = str(source)
    if text.startswith(PREFIX):
        return hub_rows(text, split)
    if text in (names := built_in_sets(folder)):
        return file_rows(names[text])
    path = Path(source).expanduser()
    if path.is_file():
        return file_rows(path)
    if path.is_dir():
        return folder_rows(path, split)
    raise _missing(source, folder)


def _example_rows(source: str | Path) -> Iterator[Row]:
    text = str(source)
    if text.startswith(PREFIX):
        return hub_rows(text.partition("@")[0], "dev")
    path = Path(source).expanduser()
    if text not in built_in_sets("tasks") and path.is_dir():
        return folder_rows(path, "dev")
    beside = path.with_name(re.sub(r"(^|_)(test|val|validation)$", r"\1dev", path.stem) + path.suffix)
    if beside != path and beside.is_file():
        return file_rows(beside)
    rows = list(_rows(source, None))
    if not any("split" in row.record for row in rows):
        raise DataError(f"expected {text} to say splits or a file of dev questions beside it, got neither")
    # Only what says that it is for validation: an example must not be asked as well.
    return iter([row for row in rows if row.record.get("split") == "validation"])


def _missing(source: str | Path, folder: Folder = "tasks") -> DataError:
    return DataError(
        f"expected a built-in set ({', '.join(built_in_sets(folder))}), a JSONL, JSON, CSV or TSV file, a folder of "
        f"CSV files, or hub:owner/name, got {str(source)!r}, which does not exist"
    )


def _plain(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows with ids as text: many sets number their items."""
    for row in rows:
        own = row.record.get("id")
        blank = own is None or own == ""
        if blank or (isinstance(own, int) and not isinstance(own, bool)):
            yield replace(row, record=row.record | {"id": row.id if blank else str(own)})
        else:
            yield row


def _line_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield Row(str(path), f"line {number}", f"{path.stem}-{number}", {"prompt": line.strip()})


def _first(record: Record, keys: Sequence[str]) -> str:
    """Return the first of the keys that the record has.

    Raises:
        InputError: when it has none.
    """
    for key in keys:
        if record.get(key) is not None:
            return key
    names = ", ".join(repr(key) for key in keys)
    raise InputError(f"expected one of the fields {names}, got {', '.join(sorted(set(record) - {'id'})) or 'none'}")


def _prompt(record: Record) -> PromptItem:
    key = _first(record, PROMPTS)
    prompt = text_field(record, key)
    if key == "instruction" and (more := text_field(record, "input", empty=True)):
        prompt = f"{prompt}\n\n{more}"
    category = next((record[name] for name in CATEGORIES if record.get(name) is not None), "")
    return prompt_item({"id": record["id"], "prompt": prompt, "category": category})


def _question(record: Record) -> Question:
    fields: dict[str, Any] = dict(record)
    choices, answer = fields.get("choices"), fields.get("answer")
    if choices is None and "A" in fields:
        columns = [fields[letter] for letter in LETTERS if letter in fields]
        # Only from behind: a gap left out would give every choice after it another letter.
        while columns and columns[-1] in (None, ""):
            columns.pop()
        fields["choices"] = columns
    elif isinstance(choices, str) and choices.lstrip().startswith("["):  # a table's cell
        try:
            fields["choices"] = json.loads(choices)
        except ValueError:
            raise InputError(f"expected 'choices' as a JSON list of strings, got {choices[:60]!r}") from None
    if isinstance(answer, str):
        fields["answer"] = int(answer) if answer.strip().isdecimal() else answer.strip()
    return question_item(fields)


def _passage(record: Record, field: str | None, chars: int | None) -> Passage:
    if chars is not None and chars < 1:
        raise InputError(f"expected texts of at least 1 character, got {chars}")
    text = text_field(record, field or _first(record, TEXTS))
    return passage_item({"id": record["id"], "text": text[:chars]})


def _suffix(source: str | Path) -> str:
    return Path(source).suffix.lower() if not str(source).startswith(PREFIX) else ""
