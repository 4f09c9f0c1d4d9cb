"""Data sets of the Hugging Face hub by name, through the package `datasets`, which is an extra."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from steersman.errors import DataError, InputError
from steersman.prompts import Row, Split

PREFIX = "hub:"
_NAME = re.compile(r"[\w.-]+")


def hub_rows(source: str, split: Split | str | None, *, limit: int | None = None) -> Iterator[Row]:
    """Yield the records of a data set.

    Args:
        source: `hub:owner/name`, optionally with `/configuration` and `@split`; a local folder may stand in the name's
            place, as in `datasets.load_dataset`.
        split: taken where the source names none: that one, or the only one there is; for `dev`, MMLU's examples, also
            `validation`, but nothing else.
        limit: only so many first records of each split, at least 1, streamed, so that a huge set is not fetched whole;
            `None` takes all of them.

    Raises:
        InputError: when `datasets` is not installed, the source is written otherwise, or the limit is below 1.
        DataError: when the data set cannot be loaded, or has no such split; `None` takes all.
    """
    name, configuration, own = parse(source)
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit of at least 1 record, got {limit}")
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise InputError(
            f"expected the package datasets for {source}, which is not installed; pip install 'steersman[hub]'"
        ) from None
    try:
        # All splits are fetched for one as well; loaded together, they can be listed where the wanted one is not there.
        loaded: Mapping[str, Any] = load_dataset(name, configuration, streaming=limit is not None)  # pyright: ignore
        for chosen in _splits(source, list(loaded), own, split):
            stem = "-".join([Path(name).name, *([configuration] if configuration else []), str(chosen)])
            for number, record in enumerate(islice(loaded[chosen], limit), start=1):
                fields = dict(record)
                # The split is said by the data set; a column of that name means something else unless it says ours.
                if fields.get("split", "test") not in get_args(Split):
                    del fields["split"]
                yield Row(source, f"row {number} of {chosen}", f"{stem}-{number}", fields)
    except (InputError, DataError):
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        # A streamed set is opened, and can fail, at its first record.
        raise DataError(_sentence(source, name, error)) from None


def parse(source: str) -> tuple[str, str | None, str | None]:
    """Return a source's name, configuration and split, the last two `None` where it does not say.

    Raises:
        InputError: for a source that is written otherwise.
    """
    text, _, split = source.removeprefix(PREFIX).partition("@")
    if text and Path(text).expanduser().is_dir():
        return str(Path(text).expanduser()), None, split or None
    owner, _, rest = text.partition("/")
    name, _, configuration = rest.partition("/")
    parts = [owner, name, *([configuration] if configuration else [])]
    if not all(_NAME.fullmatch(part) for part in parts) or text.endswith("/") or source.endswith("@"):
        raise InputError(
            f"expected hub:owner/name, hub:owner/name/configuration or either with @split behind it, got {source!r}"
        )
    return f"{owner}/{name}", configuration or None, split or None


def _splits(source: str, there: list[str], own: str | None, wanted: Split | str | None) -> list[str]:
    """Return the splits to read: the one the source names, else the wanted one, else the only one, else all."""
    if own is None and (wanted is None or (len(there) == 1 and wanted != "dev")):
        return there
    chosen = own or str(wanted)
    if chosen == "dev" and own is None and "dev" not in there:
        chosen = "validation"  # what `datasets` itself calls files of that name
    if chosen not in there:
        raise DataError(
            f"{source}: expected one of the splits {', '.join(there)}, got {chosen!r}; write the split behind the "
            f"name, as in {source.partition('@')[0]}@{there[0]}"
        )
    return [chosen]


def _sentence(source: str, name: str, error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    if isinstance(error, ConnectionError):
        return (
            f"{source}: the Hugging Face hub cannot be reached, and {name} is not in its cache ({words}); connect, or "
            "give a file"
        )
    if isinstance(error, FileNotFoundError):
        return f"{source}: expected a data set of the Hugging Face hub, got none that can be read ({words})"
    return f"{source}: cannot be loaded ({words})"
