"""Edits: (hidden, direction, coefficient) -> hidden; one per file, blind to each other."""

from steersman.edits.ablate import Ablate
from steersman.edits.add import Add
from steersman.edits.add_keeping_norm import AddKeepingNorm
from steersman.edits.clamp import Clamp
from steersman.edits.edit import Edit
from steersman.edits.rotate import Rotate

EDITS: dict[str, type[Ablate | Add | AddKeepingNorm | Clamp | Rotate]] = {
    edit().name: edit for edit in (Ablate, Add, AddKeepingNorm, Clamp, Rotate)
}
"""By the name that files and tables know them by."""

__all__ = ["EDITS", "Ablate", "Add", "AddKeepingNorm", "Clamp", "Edit", "Rotate"]
