"""Files: safe artifacts and writes that are all or nothing.

A direction is a safetensors file: one float32 `[d]` tensor per site, and in the header's metadata, under `steersman`, a
JSON object with a format version and everything that is known about it. No pickle anywhere.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.version import VERSION
from steersman.where import Site, check_span

T = TypeVar("T")

FORMAT = 1
KIND = "steersman direction"


def save_direction(direction: Direction, path: str | Path, *, force: bool = False, seed: int | None = None) -> Path:
    """Return the path of the file written, whole or not at all.

    Args:
        direction: what to save.
        path: a file name that ends in `.safetensors`.
        force: replace an existing file.
        seed: of the fit, where it had one.

    Raises:
        FileError: when the file exists and `force` is not given, or cannot be written.
    """
    target = check_target(path, force=force)
    header: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "version": VERSION,
        "method": direction.method,
        "origin": asdict(direction.origin),
        "norms": {str(site): norm for site, norm in direction.norms.items()},
        "diagnostics": {
            name: {str(site): value for site, value in values.items()} for name, values in direction.diagnostics.items()
        },
        "seed": seed,
    }
    tensors = {str(site): vector.to(torch.float32).contiguous() for site, vector in direction.vectors.items()}
    write_bytes(target, save(tensors, {"steersman": json.dumps(header, sort_keys=True)}), force=force)
    return target


def check_target(path: str | Path, *, force: bool = False) -> Path:
    """Return the path a direction may be saved to; ask before the work whose result goes there.

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


def load_direction(path: str | Path) -> Direction:
    """Return the direction in a file, checked: shapes, finiteness, sites, header.

    Raises:
        FileError: for a file that is missing, damaged, of another kind or from a newer format.
    """
    source = Path(path).expanduser()
    try:
        if not source.is_file():
            raise FileError(f"expected a direction file, got {str(source)!r}, which does not exist")
        with safe_open(str(source), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FileError(
            f"{source}: expected a safetensors file, got one that is damaged or of another kind ({error})"
        ) from None
    try:
        header = json.loads(metadata.get("steersman", "null"))
    except (ValueError, RecursionError):  # not JSON, numbers of thousands of digits, or nesting as deep
        header = None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise FileError(f"{source}: expected a direction saved by steersman, got a safetensors file without its header")
    if header.get("format") != FORMAT:
        raise FileError(
            f"{source}: expected format {FORMAT}, got {header.get('format')!r}; update steersman to read it"
        )
    try:
        return _direction(cast(dict[str, Any], header), tensors)
    except InputError as error:
        raise FileError(f"{source}: {error}") from None
    except KeyError as error:
        raise FileError(f"{source}: expected a complete steersman header, got one without {error}") from None
    except (TypeError, ArithmeticError) as error:
        raise FileError(
            f"{source}: expected a complete steersman header, got one with a wrong field ({error})"
        ) from None


def _direction(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Direction:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.ndim != 1:
            raise InputError(f"expected a float32 vector at {name}, got {tensor.dtype} of shape {tuple(tensor.shape)}")
    values = _field(header, "origin", dict)
    origin = Origin(
        model=_field(values, "model", str),
        revision=_field(values, "revision", str),
        template=_field(values, "template", str),
        width=_field(values, "width", int),
        depth=_field(values, "depth", int),
        span=check_span(_field(values, "span", str)),
        data=_field(values, "data", str),
        n=_field(values, "n", int),
    )
    diagnostics = _field(header, "diagnostics", dict)
    return Direction(
        vectors={Site.parse(name): tensor for name, tensor in tensors.items()},
        norms=_numbers(_field(header, "norms", dict)),
        origin=origin,
        method=_field(header, "method", str),
        diagnostics={name: _numbers(_field(diagnostics, name, dict)) for name in diagnostics},
    )


def _numbers(by_site: Mapping[str, Any]) -> dict[Site, float]:
    return {Site.parse(name): float(_field(by_site, name, (int, float))) for name in by_site}


def _field(record: Mapping[str, Any], name: str, kind: type[T] | tuple[type[T], ...]) -> T:
    value = record[name]
    # In Python True is an int.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name!r} is {type(value).__name__}")
    return value


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
