"""What goes in: examples, pairs and evaluation items, read from JSONL with errors that name file and line.

A pair file serves three contrasts, named by what differs between its two sides:

* `completion`: the same prompt, answered in the two ways (a refusal against a compliance). Finds what the model *does*.
* `prompt`: two prompts, no answer (harmful against harmless). Finds what the model *reads*.
* `both`: each prompt with its own answer.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from steersman.errors import DataError, InputError

Contrast = Literal["completion", "prompt", "both"]
Split = Literal["train", "validation", "test"]
Folder = Literal["pairs", "tasks", "behaviours"]

T = TypeVar("T")
Record = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A prompt, and the completion that follows it (empty: the prompt alone)."""

    prompt: str
    completion: str = ""


@dataclass(frozen=True)
class Pair:
    """Two examples that differ in one thing: the positive shows it, the negative does not."""

    id: str
    positive: Example
    negative: Example
    category: str = ""


@dataclass(frozen=True)
class PromptItem:
    """One prompt of an evaluation set."""

    id: str
    prompt: str
    category: str = ""


@dataclass(frozen=True)
class Question:
    """One four-choice question in MMLU's form; `answer` is the 0-based index of the right choice."""

    id: str
    subject: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Passage:
    """One plain text."""

    id: str
    text: str


@dataclass(frozen=True)
class Row:
    """One record as it was read, before anything is made of it.

    Args:
        source: the file or data set, as people would name it.
        place: where in it, such as `line 3`.
        id: the item's id where the record has none of its own.
        record: its fields.
    """

    source: str
    place: str
    id: str
    record: Record


def content_hash(items: Sequence[Any]) -> str:
    """Return the sha256 of the items' contents in order, 64 hex digits."""
    text = json.dumps([asdict(item) for item in items], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def pairs(source: str | Path, *, contrast: Contrast = "completion", split: Split | None = "train") -> list[Pair]:
    """Return the pairs of a built-in set (`refusal`, `honesty`) or of a JSONL file.

    Args:
        source: a built-in name or a path. A line is `{"id", "positive": {"prompt", "completion"}, "negative": {...}}`,
            optionally with `split`, `category` and `compliance` (how the *positive* prompt is answered without the
            behaviour; where absent and the prompts are equal, the negative completion is that answer).
        contrast: `completion`, `prompt` or `both`; see the module.
        split: only the lines of that split, where the file says splits; `None` takes all.

    Raises:
        DataError: for a missing file, an empty set or a bad line, with its file and number.
    """
    if contrast not in get_args(Contrast):
        raise InputError(f"expected a contrast among {', '.join(get_args(Contrast))}, got {contrast!r}")
    return read_items(find_set(source, "pairs"), lambda record: _pair(record, contrast), split)


def split_pairs(source: str | Path, split: Split, *, contrast: Contrast = "completion") -> list[Pair]:
    """Return one split of a pair file; a file that says no splits is cut by position, three fifths, one and one.

    Args:
        source: a built-in name or a path.
        split: `train`, `validation` or `test`.
        contrast: as in `pairs`.

    Raises:
        DataError: as `pairs`; also when a file without splits is too short to cut.
    """
    path = find_set(source, "pairs")
    if any("split" in record for _, record in _lines(path)):
        return pairs(path, contrast=contrast, split=split)
    wanted = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}[split]
    chosen = [pair for i, pair in enumerate(pairs(path, contrast=contrast, split=None)) if i % 5 in wanted]
    if not chosen:
        raise DataError(f"{path}: expected at least 5 pairs to cut into train, validation and test, got fewer")
    return chosen


def prompt_set(source: str | Path, *, split: Split | None = "test") -> list[PromptItem]:
    """Return the prompts of a built-in set (`harmful`, `ordinary`, `over-refusal`) or of a JSONL file.

    Args:
        source: a built-in name or a path; a line is `{"id", "prompt"}`, optionally with `category` and `split`.
        split: only the lines of that split, where the file says splits; `None` takes all.

    Raises:
        DataError: for a missing file, an empty set or a bad line, with its file and number.
    """
    return read_items(find_set(source, "tasks"), prompt_item, split)


def questions(source: str | Path = "knowledge", *, split: Split | None = "test") -> list[Question]:
    """Return four-choice questions: the built-in set or a JSONL file in MMLU's form.

    Raises:
        DataError: for a missing file, an empty set or a bad line, with its file and number.
    """
    return read_items(find_set(source, "tasks"), question_item, split)


def passages(source: str | Path = "prose", *, split: Split | None = "test") -> list[Passage]:
    """Return plain texts: the built-in set, or a JSONL file with a `text` a line.

    Raises:
        DataError: for a missing file, an empty set or a bad line, with its file and number.
    """
    return read_items(find_set(source, "tasks"), passage_item, split)


def find_set(source: str | Path, folder: Folder) -> Path:
    """Return the file of a built-in set, or the path given.

    Raises:
        DataError: when there is neither; lists the built-in names.
    """
    names = built_in_sets(folder)
    if str(source) in names:
        return names[str(source)]
    path = Path(source).expanduser()
    if path.is_file():
        return path
    raise DataError(
        f"expected a JSONL file or a built-in set ({', '.join(names)}), got {str(source)!r}, which does not exist"
    )


def built_in_sets(folder: Folder) -> dict[str, Path]:
    """Return the files of the built-in sets by name, in the names' order."""
    root = Path(str(resources.files("steersman"))) / "data" / folder
    return {path.stem: path for path in sorted(root.glob("*.jsonl"))}


def read_items(path: Path, parse: Callable[[Record], T], split: Split | None) -> list[T]:
    """Return one item a line of a JSONL file, parsed; lines of another split are left out where the file says splits.

    Raises:
        DataError: naming file and line.
    """
    return collect(str(path), jsonl_rows(path), parse, split)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a JSONL file.

    Raises:
        DataError: for a file that cannot be read, or a line that is no JSON object, naming file and line.
    """
    for number, record in _lines(path):
        yield Row(str(path), f"line {number}", f"{path.stem}-{number}", record)


def collect(source: str, rows: Iterable[Row], parse: Callable[[Record], T], split: Split | None) -> list[T]:
    """Return one item a row, parsed; rows of another split are left out where the records say splits.

    Args:
        source: what to name where there is no item.
        rows: records with their places.
        parse: makes an item of a record, which has an `id` by then; raises an InputError that says what is wrong.
        split: the split that is wanted; `None` takes all.

    Raises:
        DataError: naming file and line.
    """
    items: list[T] = []
    seen: dict[str, Row] = {}
    any_split = False
    for row in rows:
        record, where = row.record, f"{row.source}, {row.place}"
        any_split = any_split or "split" in record
        record.setdefault("id", row.id)
        if not isinstance(record["id"], str):
            raise DataError(f"{where}: expected 'id' as a string, got {type(record['id']).__name__}")
        if first := seen.get(record["id"]):
            before = first.place if first.source == row.source else f"{first.source}, {first.place}"
            raise DataError(f"{where}: id {record['id']!r} stands already in {before}")
        seen[record["id"]] = row
        try:
            own = _split(record)
            item = parse(record)
        except InputError as error:
            raise DataError(f"{where}: {error}") from None
        if split is None or own is None or own == split:
            items.append(item)
    if not items:
        which = f" of split {split!r}" if any_split else ""
        raise DataError(f"{source}: expected at least one item{which}, got none")
    return items


def _lines(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(f"{path}, line {number}: expected text, got half a character (a lone surrogate)") from None
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and nesting as deep
            raise DataError(
                f"{path}, line {number}: expected a JSON object, got text that is not JSON ({error})"
            ) from None
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}")
        yield number, cast(Record, record)


def _split(record: Record) -> Split | None:
    own = record.get("split")
    if own is not None and own not in get_args(Split):
        raise InputError(f"expected a 'split' among {', '.join(get_args(Split))}, got {own!r}")
    return own


def text_field(record: Record, key: str, *, empty: bool = False) -> str:
    """Return a record's text under a key; where `empty` is allowed, a key that is not there is the empty text.

    Raises:
        InputError: for anything but a string, or a blank one that is not allowed.
    """
    value = record.get(key, "" if empty else None)
    if not isinstance(value, str) or not (value.strip() or empty):
        came = "nothing" if value is None else repr(value)[:60]
        raise InputError(f"expected {key!r} as a {'' if empty else 'non-empty '}string, got {came}")
    return value


def _example(record: Record, side: str) -> Example:
    value = record.get(side)
    if not isinstance(value, dict):
        raise InputError(f"expected {side!r} as an object with 'prompt' and 'completion', got {type(value).__name__}")
    side_record = cast(Record, value)
    return Example(text_field(side_record, "prompt"), text_field(side_record, "completion", empty=True))


def _pair(record: Record, contrast: Contrast) -> Pair:
    positive, negative = _example(record, "positive"), _example(record, "negative")
    if contrast == "prompt":
        positive, negative = Example(positive.prompt), Example(negative.prompt)
    elif contrast == "completion":
        same = positive.prompt == negative.prompt
        answer = text_field(record, "compliance") if "compliance" in record or not same else negative.completion
        negative = Example(positive.prompt, answer)
    if contrast != "prompt" and not (positive.completion.strip() and negative.completion.strip()):
        raise InputError(f"expected a 'completion' on both sides for the contrast {contrast!r}, got an empty one")
    if positive == negative:
        raise InputError(f"expected two different examples for the contrast {contrast!r}, got the same one twice")
    return Pair(record["id"], positive, negative, text_field(record, "category", empty=True))


def prompt_item(record: Record) -> PromptItem:
    """Return the prompt of a record: `id`, `prompt`, optionally `category`.

    Raises:
        InputError: for a field that is not there or of a wrong type.
    """
    return PromptItem(record["id"], text_field(record, "prompt"), text_field(record, "category", empty=True))


def question_item(record: Record) -> Question:
    """Return the question of a record: `id`, `question`, `choices`, `answer`, optionally `subject`.

    Raises:
        InputError: for a field that is not there or of a wrong type.
    """
    came, answer = cast(object, record.get("choices")), cast(object, record.get("answer"))
    shown = repr(came)[:60]
    choices = cast(list[object], came) if isinstance(came, list) else []
    if not 2 <= len(choices) <= 10 or not all(isinstance(choice, str) and choice for choice in choices):
        raise InputError(f"expected 'choices' as a list of 2 to 10 non-empty strings, got {shown}")
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in "ABCDEFGHIJ":
        answer = "ABCDEFGHIJ".index(answer.upper())
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise InputError(f"expected 'answer' as an index from 0 to {len(choices) - 1} or a letter, got {answer!r}")
    texts = tuple(cast(list[str], choices))
    return Question(
        record["id"], text_field(record, "subject", empty=True), text_field(record, "question"), texts, answer
    )


def passage_item(record: Record) -> Passage:
    """Return the passage of a record: `id`, `text`.

    Raises:
        InputError: for a text that is not there or of a wrong type.
    """
    return Passage(record["id"], text_field(record, "text"))
