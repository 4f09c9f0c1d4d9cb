"""Direction files: one float32 `[d]` tensor per site, and everything that is known about it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.files.container import Artifact, blaming, count, field, opened, sealed, site_named
from steersman.files.ranges import plain_ranges, ranges_in
from steersman.files.writing import check_target, write_bytes
from steersman.maths.geometry import length
from steersman.where import Site, Span

KIND = "steersman direction"


def save_direction(direction: Direction, path: str | Path, *, force: bool = False, seed: int | None = None) -> Path:
    """Return the path of the file written, whole or not at all.

    Args:
        direction: what to save. A diagnostic that is not finite is left out, as one that is not known.
        path: a file name that ends in `.safetensors`.
        force: replace an existing file.
        seed: of the fit, where it had one.

    Raises:
        FileError: when the file exists and `force` is not given, or cannot be written.
    """
    target = check_target(path, force=force)
    fields = {
        "method": direction.method,
        "origin": asdict(direction.origin),
        "norms": {str(site): float(norm) for site, norm in direction.norms.items()},
        "diagnostics": {
            name: {str(site): float(value) for site, value in values.items() if math.isfinite(value)}
            for name, values in direction.diagnostics.items()
        },
        "seed": seed,
        **plain_ranges(direction.ranges),
    }
    tensors = {str(site): vector for site, vector in direction.vectors.items()}
    write_bytes(target, sealed(KIND, fields, tensors), force=force)
    return target


def load_direction(path: str | Path) -> Direction:
    """Return the direction in a file, checked: sum, shapes, finiteness, sites, header.

    Raises:
        FileError: for a file that is missing, damaged, of another kind or from a newer format.
    """
    artifact = opened(path, KIND)
    with blaming(path):
        return _direction(artifact)


def _direction(artifact: Artifact) -> Direction:
    header = artifact.header
    field(header, "version", str)
    if header["seed"] is not None:
        field(header, "seed", int)
    values = field(header, "origin", dict)
    origin = Origin(
        model=field(values, "model", str),
        revision=field(values, "revision", str),
        template=field(values, "template", str),
        width=count(values, "width", 1),
        depth=count(values, "depth", 1),
        span=str(Span.parse(field(values, "span", str))),
        data=field(values, "data", str),
        n=count(values, "n", 0),
    )
    diagnostics = field(header, "diagnostics", dict)
    direction = Direction(
        vectors={site_named(name): tensor for name, tensor in artifact.tensors.items()},
        norms=_numbers(field(header, "norms", dict)),
        origin=origin,
        method=field(header, "method", str),
        diagnostics={name: _numbers(field(diagnostics, name, dict)) for name in diagnostics},
        ranges=ranges_in(header),
    )
    for site, vector in direction.vectors.items():
        if not length(vector) < float("inf"):
            raise InputError(f"expected a vector at {site} whose length is a float32 number, got a longer one")
    return direction


def _numbers(by_site: Mapping[str, Any]) -> dict[Site, float]:
    return {site_named(name): float(field(by_site, name, (int, float))) for name in by_site}
