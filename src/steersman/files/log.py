"""Append-only logs of JSON lines: what survives a kill at any byte, and says which version wrote it.

The first line names the kind and the format, `{"steersman": "items", "format": 2}`; every further line is a record.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.errors import FileError
from steersman.files.writing import said_plainly


class Log:
    """Records in one append-only file.

    A record is on disk before `append` returns. A line that a kill or a full disk cut short is dropped when the file is
    opened again; nothing else is ever rewritten.

    Args:
        path: the file; made where it does not exist.
        kind: what it holds, such as `items`.
        format: number of the records' form; raised when older records cannot be read as they were meant.

    Raises:
        FileError: for a file that cannot be written, that holds another kind, was written in another format, or whose
            lines before the last are not JSON objects.
    """

    def __init__(self, path: Path, kind: str, format: int) -> None:  # noqa: A002 (the word in the file)
        self.path = path
        with said_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                with path.open("r+b") as file:
                    file.truncate(whole)
            # Unbuffered: a line that could not be written must not come again when the file is closed.
            self._file = path.open("ab", buffering=0)
        try:
            head, *self.records = self._read(content[:whole]) or [None]
            if head is None:
                self.append({"steersman": kind, "format": format}, note=False)
            else:
                self._recognise(head, kind, format)
        except BaseException:
            self._file.close()
            raise

    def append(self, record: Mapping[str, Any], *, note: bool = True) -> None:
        """Write a record, on disk before this returns.

        Args:
            record: plain data.
            note: also keep it in `records`.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with said_plainly(self.path):
            begin = self._file.tell()
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
        """Close the file."""
        self._file.close()

    def _read(self, content: bytes) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise FileError(f"{self.path}, line {number}: expected a JSON object; move the file away to begin anew")
            records.append(record)
        return records

    def _recognise(self, head: Mapping[str, Any], kind: str, format: int) -> None:  # noqa: A002
        came = head.get("steersman"), head.get("format")
        if came == (kind, format):
            return
        if came[0] != kind:
            raise FileError(
                f"{self.path}: expected a file of {kind} of steersman, format {format}, got one that does not say so "
                "(older versions wrote no first line that does); move it away to begin anew"
            )
        raise FileError(
            f"{self.path}: expected format {format} of {kind}, got {came[1]!r}, which another version of steersman "
            "wrote; use that version, or move the file away to begin anew"
        )
