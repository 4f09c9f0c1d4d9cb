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
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.version import VERSION
from steersman.where import Site, check_span

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
    target = Path(path).expanduser()
    if target.suffix != ".safetensors":
        raise FileError(f"expected a file name ending in .safetensors, got {target.name!r}")
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


def load_direction(path: str | Path) -> Direction:
    """Return the direction in a file, checked: shapes, finiteness, sites, header.

    Raises:
        FileError: for a file that is missing, damaged, of another kind or from a newer format.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise FileError(f"expected a direction file, got {str(source)!r}, which does not exist")
    try:
        with safe_open(str(source), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise FileError(
            f"{source}: expected a safetensors file, got one that is damaged or of another kind ({error})"
        ) from None
    try:
        header = json.loads(metadata.get("steersman", "null"))
    except json.JSONDecodeError:
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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{source}: expected a complete steersman header, got one with a wrong or missing field ({error})"
        ) from None


def _direction(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Direction:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise InputError(f"expected float32 at {name}, got {tensor.dtype}")
    values = header["origin"]
    origin = Origin(
        model=str(values["model"]),
        revision=str(values["revision"]),
        template=str(values["template"]),
        width=int(values["width"]),
        depth=int(values["depth"]),
        span=check_span(values["span"]),
        data=str(values["data"]),
        n=int(values["n"]),
    )
    return Direction(
        vectors={Site.parse(name): tensor for name, tensor in tensors.items()},
        norms={Site.parse(name): float(norm) for name, norm in header["norms"].items()},
        origin=origin,
        method=str(header["method"]),
        diagnostics={
            str(name): {Site.parse(site): float(value) for site, value in by_site.items()}
            for name, by_site in header["diagnostics"].items()
        },
    )


def write_bytes(path: Path, content: bytes, *, force: bool = True) -> None:
    """Write a file whole or not at all: to a temporary neighbour first, then renamed into place.

    Raises:
        FileError: when it exists and `force` is not given, or cannot be written (no permission, disk full).
    """
    if path.exists() and not force:
        raise FileError(f"{path} exists already; give another name, or --force to replace it")
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
