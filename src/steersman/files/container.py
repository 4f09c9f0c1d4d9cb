"""The container of every artifact: a safetensors file whose metadata hold, under `steersman`, a JSON object.

The object names the kind of artifact, the format and the version that wrote it. Since format 2 it also holds a sha256
over itself and the tensors, so that no byte can change unseen; format 1 came without and still loads. The sum finds
damage, not malice: whoever can write the file can write its sum. What a hostile file says is therefore checked as well.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from steersman.errors import FileError, InputError
from steersman.shapes import Vector
from steersman.version import VERSION
from steersman.where import Site

T = TypeVar("T")

FORMAT = 2
KINDS = {"steersman direction": ("load_direction", 1), "steersman plan": ("load_plan", 2)}
"""What reads them, and the first format that had them."""

LARGEST = 2**30
"""Bytes; a plan over every point of every layer of the largest open models takes a hundredth."""


@dataclass(frozen=True)
class Facts:
    """What a file says of itself.

    Args:
        kind: one of `KINDS`.
        format: 1 or 2.
        version: of steersman, which wrote it.
        seed: of the fit; `None` where it had none.
        sha256: over the header and the tensors, 64 hex digits; empty in format 1.
    """

    kind: str
    format: int
    version: str
    seed: int | None
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """What a file holds.

    Args:
        header: the JSON object, not yet checked beyond kind, format and sum.
        tensors: `{name: [d]}` float32.
    """

    header: Mapping[str, Any]
    tensors: Mapping[str, Vector]


def sealed(kind: str, fields: Mapping[str, Any], tensors: Mapping[str, Vector]) -> bytes:
    """Return the content of an artifact's file; equal artifacts give equal bytes.

    Args:
        kind: one of `KINDS`.
        fields: of the header, beside kind, format, version and sum.
        tensors: `{name: [d]}`.

    Raises:
        InputError: for a header that JSON cannot hold, such as one with NaN.
    """
    header = {"kind": kind, "format": FORMAT, "version": VERSION, **fields}
    plain = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    try:
        text = canonical(header | {"sha256": checksum(header, plain)})
    except ValueError as error:
        raise InputError(f"expected a header of finite numbers and plain text, got one without ({error})") from None
    # Copies, since the library refuses tensors that share memory.
    return save({name: tensor.clone() for name, tensor in plain.items()}, {"steersman": text})


def checksum(header: Mapping[str, Any], tensors: Mapping[str, Vector]) -> str:
    """Return the sha256 over a header (without its sum) and its tensors' names, shapes and bytes. 64 hex digits."""
    content = hashlib.sha256(canonical({name: value for name, value in header.items() if name != "sha256"}).encode())
    for name in sorted(tensors):
        content.update(f"|{name}|{len(tensors[name])}|".encode())
        content.update(tensors[name].numpy().tobytes())
    return content.hexdigest()


def canonical(header: Mapping[str, Any]) -> str:
    """Return the one text that a header is written as: keys sorted, ASCII, no NaN."""
    return json.dumps(header, sort_keys=True, allow_nan=False)


def opened(path: str | Path | bytes, kind: str) -> Artifact:
    """Return what an artifact's file, or the content of one, holds, when it is whole and of the kind.

    Raises:
        FileError: for a file that is missing, damaged, of another kind or from a newer format.
    """
    wanted = kind.removeprefix("steersman ")
    source, content = (Path(f"the {wanted}"), path) if isinstance(path, bytes) else _read(path, wanted)
    try:
        entries = deserialize(content)
        # The library has found the lengths to be right.
        outer = strict_json(content[8 : 8 + int.from_bytes(content[:8], "little")].decode())
    except (SafetensorError, ValueError, RecursionError) as error:
        raise FileError(
            f"{source}: expected a safetensors file, got one that is damaged or of another kind ({short(error)})"
        ) from None
    text = (outer.get("__metadata__") or {}).get("steersman", "")  # the library takes null for none
    header, number = _header(source, text, kind)
    with blaming(source):
        tensors = {name: _vector(name, entry) for name, entry in entries}
        if (number > 1 or "sha256" in header) and (
            text != canonical(header) or header.get("sha256") != checksum(header, tensors)
        ):
            raise InputError(
                "expected the sha256 that the file was written with, got another one: it was damaged or changed since; "
                "fetch or make it again"
            )
    return Artifact(header, tensors)


def _header(source: Path, text: str, kind: str) -> tuple[dict[str, Any], int]:
    """Return the header and its format, when it is one of the kind."""
    wanted = kind.removeprefix("steersman ")
    header: dict[str, Any] = {}
    try:
        header = strict_json(text)
        json.dumps(header, ensure_ascii=False, allow_nan=False).encode()  # half a character or an infinity fails here
    except (ValueError, RecursionError):  # not JSON, NaN, a key twice, numbers of thousands of digits, deep nesting
        header = {}
    found = header.get("kind") if isinstance(header, dict) else None
    if not isinstance(found, str) or found not in KINDS:
        raise FileError(f"{source}: expected a {wanted} saved by steersman, got a safetensors file without its header")
    if found != kind:
        raise FileError(f"{source}: expected a {wanted}, got a {found}; read it with {KINDS[found][0]}")
    number, first = header.get("format"), KINDS[kind][1]
    if type(number) is not int or not first <= number <= FORMAT:
        raise FileError(
            f"{source}: expected format {first} to {FORMAT}, got {short(repr(number))}; update steersman to read it"
        )
    return header, number


def facts_of(path: str | Path, kind: str = "steersman direction") -> Facts:
    """Return what an artifact's file says of itself, checked.

    Raises:
        FileError: as `opened`.
    """
    header = opened(path, kind).header
    with blaming(path):
        seed = header.get("seed")
        return Facts(
            kind,
            header["format"],
            field(header, "version", str),
            None if seed is None else field(header, "seed", int),
            str(header.get("sha256", "")),
        )


@contextmanager
def blaming(source: str | Path) -> Iterator[None]:
    """Turn what is wrong with a file's content into one sentence that names the file.

    Raises:
        FileError: for an `InputError`, a missing field, a field of a wrong type or a number too large inside.
    """
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{source}: {short(error)}") from None
    except KeyError as error:
        raise FileError(f"{source}: expected a complete steersman header, got one without {short(error)}") from None
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise FileError(
            f"{source}: expected a complete steersman header, got one with a wrong field ({short(error)})"
        ) from None


def field(record: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...]) -> T:
    """Return a field of a header.

    Raises:
        KeyError: when it is missing.
        TypeError: when it is of another type.
    """
    value = record[name]
    # In Python True is an int.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name!r} is {type(value).__name__}")
    return value


def count(record: Mapping[str, Any], name: str, least: int) -> int:
    """Return a field that counts something.

    Raises:
        InputError: when it is below the least.
    """
    value = field(record, name, int)
    if value < least:
        raise InputError(f"expected {name!r} of at least {least}, got {value}")
    return value


def word(record: Mapping[str, Any], name: str, words: tuple[Any, ...]) -> Any:
    """Return a field that is one of some words.

    Raises:
        InputError: when it is another one.
    """
    value = field(record, name, str)
    if value not in words:
        raise InputError(f"expected a {name} among {', '.join(words)}, got {value[:80]!r}")
    return value


def site_named(name: str) -> Site:
    """Return the site with a name, written as steersman writes it: `resid_post.01` could hide behind `resid_post.1`.

    Raises:
        InputError: when no site is written so.
    """
    site = Site.parse(name)
    if str(site) != name:
        raise InputError(f"expected the site {site}, got {name[:80]!r}")
    return site


def strict_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: for what is not JSON, for NaN and infinities, or a key that stands twice in one object.
        RecursionError: for nesting of thousands.
    """
    return json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def short(text: object) -> str:
    """Return a text as one line of at most 300 characters: what a hostile file says must not flood a terminal."""
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _vector(name: str, entry: Mapping[str, Any]) -> Vector:
    kind, shape = entry["dtype"], tuple(entry["shape"])
    if kind != "F32" or len(shape) != 1:
        raise InputError(f"expected a float32 vector at {name}, got {kind} of shape {shape}")
    if not shape[0]:
        raise InputError(f"expected a vector at {name}, got one of width 0")
    return torch.from_numpy(numpy.frombuffer(entry["data"], "<f4").astype(numpy.float32))


def _read(path: str | Path, wanted: str) -> tuple[Path, bytes]:
    """Return a regular file's path and content; what is no regular file is not waited for.

    The content is read once and looked at in memory, so that nobody can cut the file off in between.
    """
    source = Path(path)
    try:
        source = source.expanduser()
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise FileError(f"{source}: expected a file, got a folder, a pipe or a device")
            if state.st_size > LARGEST:
                raise FileError(
                    f"{source}: expected an artifact of at most {LARGEST:,} bytes, got {state.st_size:,}; "
                    "a model's weights are loaded with load()"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return source, file.read(LARGEST + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise FileError(f"expected a {wanted} file, got {str(source)!r}, which does not exist") from None
    except OSError as error:
        raise FileError(f"{source}: cannot be read: {error.strerror or error}") from None
    except FileError:
        raise
    except (ValueError, RuntimeError) as error:  # a null byte, an unknown user behind ~
        raise FileError(f"{str(source)!r}: expected the path of a file ({short(error)})") from None
