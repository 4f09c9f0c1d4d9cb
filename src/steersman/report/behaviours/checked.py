"""A place in a JSON record that is checked as it is read: what is missing or of another kind is said with its place."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from steersman.errors import DataError

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

    def wrong(self, expected: str) -> DataError:
        """Return the error that says what was expected here and what came."""
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
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        if key not in self.value:
            where = f", {self.place}" if self.place else ""
            raise DataError(
                f"{self.path}{where}: expected the key {key!r}, got only {', '.join(map(str, sorted(self.value)))}; "
                "run the study again."
            )
        return Node(self.path, f"{self.place}.{key}" if self.place else key, self.value[key])

    def get(self, key: str) -> "Node":
        """Return the value of a key that later versions may add: null where there is none."""
        if isinstance(self.value, dict) and key not in self.value:
            return Node(self.path, f"{self.place}.{key}", None)
        return self.at(key)

    def each(self, read: Callable[["Node"], T]) -> tuple[T, ...]:
        """Return the entries of a list, read."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return tuple(read(Node(self.path, f"{self.place}[{at}]", one)) for at, one in enumerate(self.value))

    def by_name(self, read: Callable[["Node"], T]) -> dict[str, T]:
        """Return the entries of an object, read."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return {str(name): read(Node(self.path, f"{self.place}.{name}", one)) for name, one in self.value.items()}

    def maybe(self, read: Callable[["Node"], T]) -> T | None:
        """Return the value read; None for null."""
        return None if self.value is None else read(self)

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def number(self) -> float:
        """Return a finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self.wrong("a finite number")
        return float(self.value)

    def whole(self) -> int:
        """Return a whole number."""
        if self.number() != int(self.number()):
            raise self.wrong("a whole number")
        return int(self.value)
