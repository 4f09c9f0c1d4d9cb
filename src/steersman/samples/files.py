"""Records of files: JSON lines, JSON arrays, CSV and TSV, and MMLU's CSV files, which have no header."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.prompts import Row, Split, jsonl_rows

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",), "dev": ("dev",)}
"""How file names and folders of a split end, in MMLU's distribution."""
HEADINGS = {
    *("id", "prompt", "goal", "instruction", "question", "behavior", "text", "content", "code"),
    *("answer_matching_behavior", "answer_not_matching_behavior"),
}
"""A first line of CSV with one of these is a header, whatever the case of its letters."""
LETTERS = "ABCDEFGHIJ"


def file_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a file, told apart by its ending; what is not `.csv`, `.tsv` or `.json` is JSON lines.

    Raises:
        DataError: for a file that cannot be read, or a record that is not one, with its line or place.
    """
    if path.suffix.lower() in DELIMITERS:
        return _table_rows(path)
    if path.suffix.lower() == ".json" and read_text(path).lstrip().startswith("["):
        return _array_rows(path)
    return jsonl_rows(path)


def folder_rows(path: Path, split: Split | str | None) -> Iterator[Row]:
    """Yield the records of a folder's CSV files, in the order of their names.

    Args:
        path: the folder. Where it has a folder for the split, or files whose names end in one, such as
            `anatomy_test.csv`, only those are read.
        split: the split that is wanted; `None` takes all files.

    Raises:
        DataError: when there is no such file; also as `file_rows`.
    """
    for file in split_files(path, split):
        yield from file_rows(file)


def split_files(path: Path, split: Split | str | None) -> list[Path]:
    """Return the CSV files of a split in a folder, at least one.

    Raises:
        DataError: when there is none.
    """
    endings = ENDINGS.get(split or "", ())
    below = next((path / ending for ending in endings if (path / ending).is_dir()), path)
    files = sorted(file for file in below.iterdir() if file.suffix.lower() in DELIMITERS and file.is_file())
    if split and any(_ending(file) for file in files):
        files = [file for file in files if _ending(file) in endings]
    if not files:
        which = f" of the split {split!r}" if split else ""
        raise DataError(f"{path}: expected CSV files{which}, such as anatomy_{(endings or ('test',))[0]}.csv, got none")
    return files


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        DataError: when it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _ending(path: Path) -> str:
    """Return the word of a split that a file's name ends in; empty where there is none."""
    word = path.stem.rpartition("_")[2]
    return word if "_" in path.stem and any(word in words for words in ENDINGS.values()) else ""


def _array_rows(path: Path) -> Iterator[Row]:
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON array of objects, got text that is not JSON ({error})") from None
    for number, record in enumerate(found, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}, item {number}: expected a JSON object, got {type(record).__name__}")
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise DataError(f"{path}, item {number}: expected text, got half a character (a lone surrogate)") from None
        yield Row(str(path), f"item {number}", f"{path.stem}-{number}", record)


def _table_rows(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    for number, cells in _cells(path):
        if header is None:
            if HEADINGS & {cell.strip().lower() for cell in cells}:
                header = [cell.strip() for cell in cells]
                if twice := {name for name in header if header.count(name) > 1}:
                    raise DataError(f"{path}, line {number}: expected every column once, got {twice.pop()!r} twice")
                continue
            header = []
        record = dict(zip(header, cells, strict=False)) if header else _mmlu(path, number, cells)
        if header and len(cells) != len(header):
            raise DataError(f"{path}, line {number}: expected {len(header)} cells as in the header, got {len(cells)}")
        yield Row(str(path), f"line {number}", f"{path.stem}-{number}", record)


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table that are not blank, with the line each begins in."""
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}, line {number}: expected a row of a table, got {error}") from None
        if any(cell.strip() for cell in cells):
            yield number, cells


def _mmlu(path: Path, number: int, cells: list[str]) -> dict[str, Any]:
    """Return the question of a row of MMLU's own form, whose subject is the file's name."""
    choices = len(cells) - 2
    answer = cells[-1].strip()
    if not 2 <= choices <= len(LETTERS) or answer not in tuple(LETTERS[:choices]):
        raise DataError(
            f"{path}, line {number}: expected a header that names a column such as prompt, goal, question or text, or "
            f"MMLU's row of a question, its choices and the letter of the right one, got {len(cells)} cells that end "
            f"in {answer[:40]!r}"
        )
    subject = path.stem.removesuffix(f"_{_ending(path)}")
    return {"question": cells[0], "choices": cells[1:-1], "answer": answer, "subject": subject}
