"""Writes that are all or nothing, and what the operating system says in plain words."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steersman.errors import FileError


def check_target(path: str | Path, *, force: bool = False) -> Path:
    """Return the path an artifact may be saved to; ask before the work whose result goes there.

    Args:
        path: a file name that ends in `.safetensors`.
        force: an existing file may be replaced.

    Raises:
        FileError: for another ending, or when the file exists and `force` is not given.
    """
    target = Path(path).expanduser()
    if target.suffix != ".safetensors":
        raise FileError(f"expected a file name ending in .safetensors, got {target.name!r}")
    _refuse_existing(target, force)
    return target


def write_bytes(path: Path, content: bytes, *, force: bool = True) -> None:
    """Write a file whole or not at all: to a temporary neighbour first, then renamed into place.

    Raises:
        FileError: when it exists and `force` is not given, or cannot be written (no permission, disk full).
    """
    _refuse_existing(path, force)
    with said_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _refuse_existing(path: Path, force: bool) -> None:
    with said_plainly(path):
        exists = path.exists()
    if exists and not force:
        raise FileError(f"{path} exists already; give another name, or --force to replace it")


def write_text(path: Path, content: str, *, force: bool = True) -> None:
    """Write a UTF-8 text file whole or not at all; see `write_bytes`."""
    write_bytes(path, content.encode(), force=force)


def write_json(path: Path, content: Any, *, force: bool = True) -> None:
    """Write a JSON file whole or not at all; see `write_bytes`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", force=force)


@contextmanager
def said_plainly(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a path into one clear sentence.

    Raises:
        FileError: for any OSError inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(f"{path}: the disk is full; make room and run the same command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise FileError(f"{path}: no permission to write there; give a folder that you may write to") from error
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
