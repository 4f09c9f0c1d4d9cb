"""A run folder, made or resumed: one configuration, one process."""

from pathlib import Path
from typing import Any

import yaml

from steersman.errors import FileError
from steersman.files import said_plainly, write_text
from steersman.runs.store import ItemStore


def open_run(folder: Path, config: dict[str, Any], *, force: bool = False) -> ItemStore:
    """Return the item store of a run folder, made or resumed; it is this process's until it is closed.

    Args:
        folder: the run folder.
        config: everything that decides the results; a folder with another one is not continued.
        force: take the folder over for another configuration; items that are still valid are kept.

    Raises:
        FileError: when the folder holds a run with another configuration, is in use by another process, or cannot be
            written.
    """
    path = folder / "config.yaml"
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    with said_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Before the store is opened, so that a folder that is not ours is left as it is; and again once it is ours alone.
    _check(folder, path, text, force)
    store = ItemStore(folder / "items.jsonl")
    try:
        _check(folder, path, text, force)
        write_text(path, text)
    except BaseException:
        store.close()
        raise
    return store


def _check(folder: Path, path: Path, text: str, force: bool) -> None:
    with said_plainly(folder):
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else text
    if before != text and not force:
        raise FileError(f"{folder} holds a run with other settings; give another --out, or --force to take it over")
