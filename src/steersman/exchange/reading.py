"""Reading GGUF control vectors: a file's header is walked within its bounds before anything trusts a number in it.

The `gguf` package believes every count and length that a file states: a few bytes can make it loop for hours. Here
nothing is allocated by what the file says; each number is checked against the bytes that are there.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from steersman.errors import FileError
from steersman.maths.geometry import length
from steersman.shapes import Vector

ARCHITECTURE = "controlvector"
LARGEST = 1 << 30
"""Bytes: 1,000 layers of a model 100,000 wide take 0.4 GB."""
_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,3})")

VERSIONS = (2, 3)
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the format's scalar types, by number; 8 is a string, 9 an array (GGUF specification, version 3)."""
STRING, ARRAY = 8, 9
SHORTEST_FIELD, SHORTEST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8
MOST_VALUES = 10_000_000
"""In all arrays together: a large vocabulary has a tenth of them, a control vector none to speak of."""


@dataclass
class _Walk:
    """A place in the bytes of a file."""

    data: bytes
    at: int = 0
    values: int = 0

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise FileError(
                f"expected {count:,} bytes at {self.at:,}, got the end of the file after {len(self.data):,}"
            )
        self.at += count

    def number(self, kind: str) -> int:
        start = self.at
        self.skip(struct.calcsize(kind))
        return int(struct.unpack_from("<" + kind, self.data, start)[0])

    def count(self, shortest: int, what: str) -> int:
        number = self.number("Q")
        if number * shortest > len(self.data):
            raise FileError(f"expected as many {what} as {len(self.data):,} bytes can hold, got {number:,}")
        return number

    def string(self) -> None:
        self.skip(self.number("Q"))

    def value(self, kind: int) -> None:
        if kind == STRING:
            self.string()
        elif kind in SCALAR_BYTES:
            self.skip(SCALAR_BYTES[kind])
        elif kind == ARRAY:
            self.array()
        else:
            raise FileError(f"expected a type of the GGUF format at {self.at:,}, got {kind}")

    def array(self) -> None:
        kind = self.number("I")
        count = self.count(SCALAR_BYTES.get(kind, 8), "array values")
        self.values += count
        if self.values > MOST_VALUES:
            raise FileError(f"expected at most {MOST_VALUES:,} values in arrays, got more")
        if kind in SCALAR_BYTES:
            self.skip(SCALAR_BYTES[kind] * count)
        elif kind == STRING:
            for _ in range(count):
                self.string()
        else:
            raise FileError(f"expected arrays of numbers or of strings, got an array of type {kind}")


def check_gguf(path: Path, largest: int) -> None:
    """Return when the header of a GGUF file lies within the file: every count, length and type.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        FileError: when not; also for a file that is none, is larger, or has another version or byte order.
    """
    if not path.is_file():
        raise FileError(f"expected a GGUF file, got {str(path)!r}, which does not exist")
    try:
        size = path.stat().st_size
        if size > largest:
            raise FileError(f"{path}: expected at most {largest:,} bytes, got {size:,}; is it a whole model?")
        walk = _Walk(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        if walk.data[:4] != b"GGUF":
            raise FileError(f"expected a file that begins with 'GGUF', got {walk.data[:4]!r}")
        walk.at = 4
        version = walk.number("I")
        if version not in VERSIONS:
            raise FileError(f"expected GGUF version 2 or 3, little-endian, got {version}")
        tensors, fields = walk.count(SHORTEST_TENSOR, "tensors"), walk.count(SHORTEST_FIELD, "fields")
        for _ in range(fields):
            walk.string()
            walk.value(walk.number("I"))
        for _ in range(tensors):
            walk.string()
            dimensions = walk.number("I")
            if dimensions > 4:
                raise FileError(f"expected tensors of at most 4 dimensions, got {dimensions}")
            walk.skip(8 * dimensions + 4 + 8)
    except FileError as error:
        raise FileError(f"{path}: expected a whole GGUF file: {error}") from None


def read_control_vector(source: Path) -> tuple[dict[int, Vector], dict[str, Any]]:
    """Return the vectors of a GGUF control vector, `{k: [d]}` float32, and the metadata that concerns them.

    Raises:
        FileError: for a file that is missing, damaged, or no control vector.
    """
    check_gguf(source, LARGEST)
    try:
        with np.errstate(all="raise"):
            reader = gguf.GGUFReader(source)
            held = {
                key: field.contents()
                for key, field in reader.fields.items()
                if key.startswith(("general.architecture", "controlvector.", "steersman."))
            }
            tensors = {tensor.name: (tensor.tensor_type, np.array(tensor.data)) for tensor in reader.tensors}
    except Exception as error:  # whatever damaged bytes make of the package
        raise FileError(f"{source}: expected a GGUF file, got one that is damaged ({error})") from None
    if held.get("general.architecture") != ARCHITECTURE:
        raise FileError(
            f"{source}: expected a GGUF control vector, got the architecture {held.get('general.architecture')!r}"
        )
    vectors: dict[int, Vector] = {}
    for name, (kind, values) in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise FileError(f"{source}: expected tensors named direction.k, got {name[:80]!r}")
        if kind != gguf.GGMLQuantizationType.F32 or values.ndim != 1:
            raise FileError(f"{source}: expected a float32 vector at {name}, got {kind.name} of shape {values.shape}")
        vector = torch.from_numpy(values.astype(np.float32))
        if not torch.isfinite(vector).all() or not length(vector) > 0:
            raise FileError(f"{source}: expected finite numbers and a positive length at {name}, got none such")
        vectors[int(match[1])] = vector
    if not vectors or len({len(vector) for vector in vectors.values()}) > 1:
        raise FileError(f"{source}: expected vectors of one width, got {sorted(map(len, vectors.values())) or 'none'}")
    return vectors, held
