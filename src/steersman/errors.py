"""Every error steersman raises on purpose: one small tree, drawn here.

    SteersmanError
    ├── InputError          what the user gave cannot be used (exit code 2)
    │   ├── DataError       a JSONL file, a set, a pair
    │   ├── ModelError      a model that cannot be found, fetched or understood
    │   ├── FileError       an artifact that cannot be read or written
    │   └── MismatchError   things that do not belong together (widths, depths, sites)
    ├── InterventionError   an intervention was asked for and did not happen
    └── BusyError           a live model takes nothing further in at this moment
        └── ClosedError     it will not do so again

A message says what was expected, what came, and what to do, in one sentence or two.
"""


class SteersmanError(Exception):
    """Base of every error steersman raises on purpose."""


class InputError(SteersmanError, ValueError):
    """What the user gave cannot be used; the command line answers with exit code 2."""


class DataError(InputError):
    """A data file, a set or a pair is missing, empty or malformed."""


class ModelError(InputError):
    """A model cannot be found, fetched, verified or understood."""


class FileError(InputError):
    """An artifact or a folder cannot be read or written."""


class MismatchError(InputError):
    """Two things do not belong together: widths, depths, sites, chat templates."""


class InterventionError(SteersmanError, RuntimeError):
    """An intervention was asked for and was not applied."""


class BusyError(SteersmanError, RuntimeError):
    """A live model's queue is full; ask again later."""


class ClosedError(BusyError):
    """A live model is closing or closed."""
