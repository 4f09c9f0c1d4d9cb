"""Run folders: what was asked, what came out, and an append-only store of finished items that survives a kill.

config.yaml        the exact configuration
provenance.json    versions, model, seeds, hashes, seconds
items.jsonl        one line a finished item, content-addressed, appended and flushed batch by batch
directions/        the fitted directions
completions.jsonl, results.json, differences.json, layers.json, summary.json   written at the end
"""

import json
import os
from collections.abc import Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from steersman.errors import FileError
from steersman.files import said_plainly, write_text
from steersman.tasks import Outcome


class ItemStore(MutableMapping[str, Outcome]):
    """Outcomes by content address, kept in one append-only JSONL file.

    Setting a key writes a line at once. A line that a kill or a full disk cut short is dropped; nothing else is ever
    rewritten.

    Args:
        path: the file; made where it does not exist.

    Raises:
        FileError: for a file that cannot be written, or whose lines before the last are not what this store writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._items: dict[str, Outcome] = {}
        with said_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with path.open("r+b") as file:
                    file.truncate(whole)
            # Unbuffered: a line that could not be written must not come again when the file is closed.
            self._file = path.open("ab", buffering=0)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                record = json.loads(line)
                self._items[record["key"]] = Outcome(
                    record["item"], record["metrics"], record["details"], record.get("group", "")
                )
            except (ValueError, KeyError, TypeError):
                self._file.close()
                raise FileError(
                    f"{path}, line {number}: expected a finished item; move the file away to begin anew"
                ) from None

    def __setitem__(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome, on disk before this returns."""
        line = json.dumps({"key": key, **asdict(outcome)}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with said_plainly(self.path):
            begin = self._file.tell()
            try:
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except BaseException:
                self._file.truncate(begin)
                raise
        self._items[key] = outcome

    def __getitem__(self, key: str) -> Outcome:
        """Return a finished item's outcome."""
        return self._items[key]

    def __delitem__(self, key: str) -> None:
        """Refuse: the store only grows."""
        raise TypeError(f"the store is append-only; {key} stays")

    def __iter__(self) -> Iterator[str]:
        """Go through the keys, oldest first."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of finished items."""
        return len(self._items)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_run(folder: Path, config: dict[str, Any], *, force: bool = False) -> ItemStore:
    """Return the item store of a run folder, made or resumed.

    Args:
        folder: the run folder.
        config: everything that decides the results; a folder with another one is not continued.
        force: take the folder over for another configuration; items that are still valid are kept.

    Raises:
        FileError: when the folder holds a run with another configuration, or cannot be written.
    """
    path = folder / "config.yaml"
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    with said_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else text
    if before != text and not force:
        raise FileError(f"{folder} holds a run with other settings; give another --out, or --force to take it over")
    write_text(path, text)
    return ItemStore(folder / "items.jsonl")
