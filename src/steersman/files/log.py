"""Append-only logs of JSON lines: what survives a kill at any byte, and says which version wrote it.

The first line names the kind and the format, `{"steersman": "items", "format": 2}`; every further line is a record.
One process holds a log at a time: what it has open is locked, and the lock dies with the process, whatever ends it.
"""

import errno
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from steersman.errors import FileError
from steersman.files.writing import said_plainly

if os.name == "nt":
    import msvcrt
else:
    import fcntl

# Byte that stands for the whole file where only ranges can be locked; far behind any log's end, so that nobody who
# merely reads is kept out.
_FAR = 2**62


class Log:
    """Records in one append-only file, held by one process at a time.

    A record is on disk before `append` returns. A line that a kill or a full disk cut short is dropped when the file is
    opened again; nothing else is ever rewritten, and a file that is not recognised is not touched.

    Args:
        path: the file; made where it does not exist.
        kind: what it holds, such as `items`.
        format: number of the records' form; raised when older records cannot be read as they were meant.

    Raises:
        FileError: for a file that cannot be written, that another process has open, that holds another kind, was
            written in another format, or whose lines before the last are not JSON objects.
    """

    def __init__(self, path: Path, kind: str, format: int) -> None:  # noqa: A002 (the word in the file)
        self.path = path
        head = {"steersman": kind, "format": format}
        with said_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            # Unbuffered: a line that could not be written must not come again when the file is closed.
            self._file = path.open("ab", buffering=0)
        try:
            lock(self._file, path)
            with said_plainly(path):
                content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if not whole and not _line(head).startswith(content):
                raise unknown(path, kind, format)
            records = read_records(path, content[:whole])
            if records:
                self._recognise(records[0], kind, format)
            self.records = records[1:]
            if whole < len(content):
                with said_plainly(path):
                    self._file.truncate(whole)
            if not records:
                self.append(head, note=False)
        except BaseException:
            self._file.close()
            if fresh:
                path.unlink(missing_ok=True)
            raise

    def append(self, record: Mapping[str, Any], *, note: bool = True) -> None:
        """Write a record, on disk before this returns.

        Args:
            record: plain data.
            note: also keep it in `records`.
        """
        line = _line(record)
        with said_plainly(self.path):
            begin = self._file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except BaseException:
                self._file.truncate(begin)
                raise
        if note:
            self.records.append(dict(record))

    def close(self) -> None:
        """Close the file and let go of it."""
        self._file.close()

    def _recognise(self, head: Mapping[str, Any], kind: str, format: int) -> None:  # noqa: A002
        came = head.get("steersman"), head.get("format")
        if came == (kind, format):
            return
        if came[0] != kind:
            raise unknown(self.path, kind, format)
        newer = isinstance(came[1], int) and came[1] > format
        raise FileError(
            f"{self.path}: expected format {format} of {kind}, got {came[1]!r}, which "
            f"{'a newer' if newer else 'another'} version of steersman wrote; use that version, or move the file away "
            "to begin anew"
        )


def read_records(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects in the whole lines of a file's content.

    Args:
        path: where the content is from, for the message.
        content: lines, each with its end; what follows the last end is left out.

    Raises:
        FileError: for a line that is no JSON object, naming it.
    """
    records: list[dict[str, Any]] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise FileError(f"{path}, line {number}: expected a JSON object; move the file away to begin anew")
        records.append(record)
    return records


def lock(file: FileIO, path: Path) -> None:
    """Return with the open file locked for this process, until it is closed or the process ends.

    Args:
        file: open for writing.
        path: its path, for the message.

    Raises:
        FileError: when another process (or another place in this one) has it.
    """
    try:
        if os.name == "nt":
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks cannot lock: there it is the user who must not start the same run twice.
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            return
        raise FileError(
            f"{path} is in use by another process; wait until it has finished or stop it, or write somewhere else"
        ) from None


def unknown(path: Path, kind: str, format: int) -> FileError:  # noqa: A002
    """Return the error for a file that does not say that it is of this kind."""
    return FileError(
        f"{path}: expected a file of {kind} of steersman, format {format}, got one that does not say so "
        "(older versions wrote no first line that does); move it away to begin anew"
    )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
