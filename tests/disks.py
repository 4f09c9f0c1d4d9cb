"""Full disks: simulated everywhere, and a real one, a few kilobytes of tmpfs, where this user may mount."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest


@contextmanager
def tiny_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """Yield a folder on a disk of its own of so many bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def mounts() -> bool:
    """Return whether this user may mount a disk here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tiny_disk(Path(folder) / "disk"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def really_full(folder: Path) -> Iterator[Path]:
    """Yield a folder on a disk without a free byte; what is in it may be read."""
    with tiny_disk(folder) as disk:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        yield disk


@contextmanager
def seemingly(code: int, folder: Path) -> Iterator[Path]:
    """Yield a folder where nothing new can be kept: the operating system answers with `code`."""
    folder.mkdir(parents=True, exist_ok=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", refuse)
        patch.setattr(os, "fsync", refuse)
        yield folder


seemingly_full = partial(seemingly, errno.ENOSPC)
FULL_DISKS = {"simulated": seemingly_full} | ({"mounted": really_full} if mounts() else {})
