"""Edits: (hidden, direction, coefficient) -> hidden; one per file, blind to each other."""

from steersman.edits.add import Add
from steersman.edits.edit import Edit

__all__ = ["Add", "Edit"]
