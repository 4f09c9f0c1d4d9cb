"""Finished items, one record each, under the address of everything their outcome depends on.

The address of an item (`steersman.evaluation.address`) covers the engine's identity (model, revision, dtype, template),
the task's name and what it says of itself (sampling, judge, form of the prompt), what acts on the model (directions,
edits, spans, coefficients, gates, system prompt), the whole list of items, and the batch size. Labels, the seed of the
bootstrap, the order of settings and what else is measured do not count: a changed setting redoes what it touches and
nothing else.

A kill loses at most the batch in flight: its items that were not on disk yet are computed again, as the same batch.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steersman.errors import FileError
from steersman.files import said_plainly
from steersman.files.log import Log, read_records
from steersman.tasks import Outcome

FORMAT = 2
"""Of the records: 1 had no first line that names it, and no `group`."""


class ItemStore(MutableMapping[str, Outcome]):
    """Outcomes by content address, kept in one append-only JSONL file that one process holds at a time.

    Setting a key writes a record at once. A line that a kill or a full disk cut short is dropped; nothing else is ever
    rewritten. A file of format 1 is moved aside, `items.jsonl` to `items.v1.jsonl`, and read along from there: its
    items are content-addressed too, so one that still fits is as good as a new one.

    Args:
        path: the file; made where it does not exist.

    Raises:
        FileError: for a file that cannot be written, that another process has open, that a newer version wrote, or
            whose lines before the last are not what this store writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        old = path.with_name(f"{path.stem}.v1{path.suffix}")
        self._items: dict[str, Outcome] = {}
        _set_aside(path, old)
        if old.is_file():
            self._items |= _items(old, _old_records(old))
        self._log = Log(path, "items", FORMAT)
        try:
            # The first line is the header.
            self._items |= _items(path, self._log.records, first=2)
        except BaseException:
            self.close()
            raise
        self._log.records.clear()

    def __setitem__(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome, on disk before this returns."""
        self._log.append({"key": key, **asdict(outcome)}, note=False)
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
        """Close the file and let another process have it."""
        self._log.close()


def _items(path: Path, records: Iterable[Mapping[str, Any]], first: int = 1) -> dict[str, Outcome]:
    """Return outcomes by key, from records whose first stands on line `first`."""
    found: dict[str, Outcome] = {}
    for number, record in enumerate(records, start=first):
        try:
            found[record["key"]] = Outcome(
                record["item"], record["metrics"], record["details"], record.get("group", "")
            )
        except (KeyError, TypeError):
            raise FileError(
                f"{path}, line {number}: expected a finished item; move the file away to begin anew"
            ) from None
    return found


def _old_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of format 1, less a last line that was cut short."""
    with said_plainly(path):
        content = path.read_bytes()
    return read_records(path, content[: content.rfind(b"\n") + 1])


def _set_aside(path: Path, old: Path) -> None:
    """Move a file of format 1 aside once all of it has been understood; leave every other file as it is."""
    if not path.is_file():
        return
    with said_plainly(path), path.open("rb") as file:
        begin = file.read(8)
    # Two bytes of a line that was cut short could be the header's as well, and hold nothing.
    if len(begin) < 3 or not b'{"key": '.startswith(begin):
        return
    if old.exists():
        raise FileError(f"{path}: a file of format 1 stands where {old.name} is kept already; move one of them away")
    records = _old_records(path)
    _items(path, records)
    with said_plainly(path):
        path.rename(old)
