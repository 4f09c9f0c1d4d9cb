"""A run folder's record, opened and checked as it is read: what is missing or of another kind is said with its place.

`opened` gives the whole record as a `Node`. Readers ask nodes for what should be there; one that does not hold it says
where that is, what was expected and what came.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from steersman.errors import DataError, FileError
from steersman.maths.statistics import Estimate

T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    """One value of a record.

    Args:
        path: the file.
        place: where in it, such as `settings[3].scores`; empty for all of it.
        value: as JSON holds it.
    """

    path: Path
    place: str
    value: Any

    def wrong(self, expected: str, found: str | None = None) -> DataError:
        """Return the error that says what was expected here and what came; `found` where the value does not say it."""
        if found is None:
            found = "null" if self.value is None else f"a {type(self.value).__name__}"
            if isinstance(self.value, bool | int | float | str):
                found = repr(self.value)[:60]
        where = f", {self.place}" if self.place else ""
        return DataError(f"{self.path}{where}: expected {expected}, got {found}; run the study again.")

    def at(self, key: str) -> "Node":
        """Return the value of a key.

        Raises:
            DataError: for what is no object, or has no such key.
        """
        found = self._object()
        if key not in found:
            came = ", ".join(map(str, sorted(found)))
            raise self.wrong(f"the key {key!r}", f"only {came}" if came else "no key at all")
        return self._inner(key, found[key])

    def get(self, key: str) -> "Node":
        """Return the value of a key that later versions may add: null where there is none."""
        return self._inner(key, self._object().get(key))

    def each(self, read: Callable[["Node"], T]) -> tuple[T, ...]:
        """Return the entries of a list, read."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return tuple(read(Node(self.path, f"{self.place}[{at}]", one)) for at, one in enumerate(self.value))

    def by_name(self, read: Callable[["Node"], T]) -> dict[str, T]:
        """Return the entries of an object, read."""
        return {str(name): read(self._inner(name, one)) for name, one in self._object().items()}

    def maybe(self, read: Callable[["Node"], T]) -> T | None:
        """Return the value read; None for null."""
        return None if self.value is None else read(self)

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def one_of(self, words: Sequence[str]) -> str:
        """Return a text that is one of some words."""
        if self.text() not in words:
            raise self.wrong(f"one of {', '.join(words)}")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def number(self) -> float:
        """Return a finite number."""
        found = self.value
        # In Python True is an int; a whole number of hundreds of digits is finite, but no float; NaN is never less.
        if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= sys.float_info.max:
            raise self.wrong("a finite number")
        return float(found)

    def whole(self, least: int | None = None) -> int:
        """Return a whole number, of at least `least` where that is given."""
        found = self.value
        if isinstance(found, bool) or not isinstance(found, int) or (least is not None and found < least):
            raise self.wrong("a whole number" if least is None else f"a whole number of at least {least}")
        return found

    def estimate(self) -> Estimate:
        """Return a number with its 95 % interval and the number of items that it rests on."""
        value, low, high = (self.at(key).number() for key in ("value", "low", "high"))
        if low > high:
            raise self.at("low").wrong(f"an interval's lower end, at most its upper end {high:g}")
        return Estimate(value, low, high, self.at("n").whole(0))

    def _object(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            raise self.wrong("an object")
        return self.value

    def _inner(self, key: str, value: Any) -> "Node":
        return Node(self.path, f"{self.place}.{key}" if self.place else key, value)


def opened(folder: str | Path, name: str, study: str) -> Node:
    """Return all of a record in a run folder.

    Args:
        folder: a run folder.
        name: of the record's file.
        study: which writes it, as `steersman run` calls it.

    Raises:
        FileError: the file is missing, cannot be read or is not JSON; the message names it.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise FileError(
            f"expected a run folder with {name}, but {path} does not exist; "
            f"give the folder that `steersman run {study}` wrote."
        )
    return Node(path, "", _json(path))


def optional_object(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file that a run folder may lack; nothing where it does.

    Raises:
        FileError: the file cannot be read, or holds no JSON object.
    """
    if not path.is_file():
        return {}
    value = _json(path)
    if not isinstance(value, dict):
        raise FileError(f"{path} should hold one JSON object, but holds a {type(value).__name__}.")
    return value


def check_version(root: Node, version: int) -> None:
    """Check that a record is of the version that this steersman reads.

    Raises:
        DataError: it is of another one, or says none.
    """
    if root.at("version").whole() != version:
        raise root.at("version").wrong(f"version {version}, which this steersman reads")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # broken JSON, bytes that are not UTF-8, nesting of thousands
        raise FileError(f"{path} is not valid JSON ({error}); remove it and run the study again.") from error
