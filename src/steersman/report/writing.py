"""Files that are either whole or absent: written beside their place, then moved into it."""

import os
import tempfile
from pathlib import Path

from steersman.errors import FileError


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a file so that a kill or a full disk leaves the old one, or none, but never half.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # the same folder, so that the move is a rename within one file system
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes files private; a report is meant to be shared
        Path(temporary).replace(path)
    except OSError as error:
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}; choose a folder that can be written to."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path
