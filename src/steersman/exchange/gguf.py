"""GGUF control vectors: the form that llama.cpp, and what is built on it, adds to the residual stream.

The file has the architecture `controlvector` and one float32 vector `direction.k` for each layer. llama.cpp adds
`direction.k` to the output of its block k, counted from 0, at every position: k is the layer of our `resid_post`. Its
loader refuses a whole file that holds `direction.0`, so the first block's output cannot be steered there. repeng counts
as llama.cpp does: its layer k is read from and added to the output of block k (its own k may be 0).

The coefficient is multiplied in, since the format has no place for one; ours is kept beside it for people to read.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import gguf
import torch

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.edits import Add
from steersman.errors import FileError, InputError, MismatchError
from steersman.exchange.reading import ARCHITECTURE, read_control_vector
from steersman.files import ranges_in_text, said_plainly, write_bytes
from steersman.maths.geometry import length
from steersman.model.handle import Handle
from steersman.plan import Plan, Step
from steersman.prompts import pairs
from steersman.range import Range
from steersman.recording import record
from steersman.shapes import Vector
from steersman.version import VERSION
from steersman.where import Site, Span

FORMAT = 1
_MEASURED_ON = 8  # pairs of the built-in refusal set: some hundreds of tokens, chat turns and answers


@dataclass(frozen=True)
class ControlVector:
    """What a control vector file says.

    Args:
        path: the file.
        layers: 0-based blocks whose output it changes.
        lengths: L2 norm of what is added there, in the same order.
        coefficient: the one multiplied in; `None` where steps had different ones.
        unit: of the coefficient, `norm` or `raw`.
        words: the same in a sentence.
    """

    path: Path
    layers: tuple[int, ...]
    lengths: tuple[float, ...]
    coefficient: float | None
    unit: str
    words: str


def export_gguf(
    source: Direction | Plan,
    path: str | Path,
    *,
    coefficient: float | None = None,
    unit: str = "norm",
    hint: str = "",
    force: bool = False,
) -> ControlVector:
    """Return what was written: a control vector that llama.cpp applies as steersman applies the plan.

    Args:
        source: a direction, or a plan whose coefficients are its own.
        path: a file name that ends in `.gguf`.
        coefficient: how strongly a direction is to act, in `unit`; it is multiplied in.
        unit: `norm` (fractions of the mean residual norm at the site) or `raw` (multiples of the vector).
        hint: the model's architecture, such as `llama`, for people; the direction's model where not given.
        force: replace an existing file.

    Raises:
        InputError: for what the format cannot hold: another edit than `Add`, another span than `all`, a gate, another
            point than `resid_post`, layer 0, or nothing at all; for a direction without a coefficient, a plan with one.
        FileError: when the file exists and `force` is not given, or cannot be written.
    """
    target = _target(path, force)
    if isinstance(source, Direction):
        if coefficient is None:
            raise InputError("expected a coefficient to multiply into the file, got none; GGUF has no place for one")
        plan = Plan(source, coefficient=coefficient, unit=unit)
    else:
        if coefficient is not None:
            raise InputError("expected no coefficient beside a plan, which has its own; use plan.scaled")
        plan = source
    steps = [step for step in plan if step.coefficient]
    added = added_vectors(steps)
    _write(target, added, _metadata(source, steps, added, hint), force)
    layers = tuple(sorted(added))
    lengths = tuple(length(added[layer]) for layer in layers)
    said, one_unit = _strength(steps)
    where = ", ".join(f"{layer} ({size:.3g})" for layer, size in zip(layers, lengths, strict=True))
    words = f"added at every position to the output of blocks (length of the vector): {where}; coefficient "
    words += f"{said:g} {one_unit}" if said is not None else "different from step to step"
    return ControlVector(target, layers, lengths, said, one_unit, f"{words}, multiplied in")


def added_vectors(steps: list[Step]) -> dict[int, Vector]:
    """Return `{layer: [d]}`, what the steps add to the blocks' outputs.

    Raises:
        InputError: for a step that a GGUF control vector cannot hold, named.
    """
    if not steps:
        raise InputError("expected something to add, got no step with a coefficient other than 0")
    added: dict[int, Vector] = {}
    for step in steps:
        _expressible(step)
        vector = step.coefficient * step.vector.to("cpu", torch.float32)
        added[step.site.layer] = added[step.site.layer] + vector if step.site.layer in added else vector
    added = {layer: vector for layer, vector in added.items() if length(vector) > 0}
    if not added:
        raise InputError("expected something to add, got steps that cancel each other out")
    for layer, vector in added.items():
        if not torch.isfinite(vector).all():
            raise InputError(f"expected finite numbers at layer {layer}, got an overflow; use a smaller coefficient")
    return added


def _expressible(step: Step) -> None:
    held = "a GGUF control vector is added to blocks' outputs at every position and can hold nothing else"
    if not isinstance(step.edit, Add):
        raise InputError(f"expected the edit 'add', got {step.edit.name!r} at {step.site}; {held}")
    if step.span != Span("all"):
        raise InputError(f"expected the span 'all', got '{step.span}' at {step.site}; {held}")
    if step.gate is not None:
        raise InputError(f"expected a step without a gate, got one gated at {step.gate.site}; {held}")
    if step.site.point != "resid_post":
        raise InputError(f"expected sites resid_post, got {step.site}; {held}")
    if step.site.layer == 0:
        raise InputError(
            "expected layers from 1, got layer 0: llama.cpp refuses a whole file that holds direction.0; leave it out "
            "with direction.at(1, 2, ...) or --layer"
        )


def _strength(steps: list[Step]) -> tuple[float | None, str]:
    found = {(step.coefficient, step.unit) for step in steps}
    if len(found) == 1:
        return next(iter(found))
    units = {unit for _, unit in found}
    return None, next(iter(units)) if len(units) == 1 else "mixed"


def _metadata(
    source: Direction | Plan, steps: list[Step], added: Mapping[int, Vector], hint: str
) -> dict[str, str | int | float | list[float]]:
    coefficient, unit = _strength(steps)
    held: dict[str, str | int | float | list[float]] = {
        "controlvector.model_hint": hint,
        "controlvector.layer_count": len(added),
        "steersman.format": FORMAT,
        "steersman.version": VERSION,
        "steersman.unit": unit,
        "steersman.span": "all",
        "steersman.width": steps[0].width,
        "steersman.depth": steps[0].depth,
    }
    if coefficient is not None:
        held["steersman.coefficient"] = coefficient
    if isinstance(source, Direction):
        held["controlvector.model_hint"] = hint or source.origin.model
        held["steersman.method"] = source.method
        held["steersman.model"] = source.origin.model
        held["steersman.revision"] = source.origin.revision
        held["steersman.origin"] = json.dumps(asdict(source.origin), sort_keys=True)
        held["steersman.norms"] = [float(source.norms[Site(layer)]) for layer in sorted(added)]
        if ranges := _ranges(source, added, coefficient or 0.0):
            held["steersman.ranges"] = json.dumps([each.plain() for each in ranges], sort_keys=True)
    return held


def _ranges(source: Direction, added: Mapping[int, Vector], coefficient: float) -> list[Range]:
    """Return what is known of good coefficients, in multiples of what the file adds: what llama.cpp scales it by."""
    found: list[Range] = []
    for layer, vector in sorted(added.items()):
        site = Site(layer)
        for sign in (1, -1):
            if known := source.range_for(site, sign, "raw"):
                multiples = known.scaled(length(source.vectors[site]) / length(vector))
                found.append(replace(multiples, sign=sign if coefficient > 0 else -sign))
    return found


def _target(path: str | Path, force: bool) -> Path:
    target = Path(path).expanduser()
    if target.suffix != ".gguf":
        raise FileError(f"expected a file name ending in .gguf, got {target.name!r}")
    with said_plainly(target):
        exists = target.exists()
    if exists and not force:
        raise FileError(f"{target} exists already; give another name, or --force to replace it")
    return target


def _write(target: Path, added: Mapping[int, Vector], metadata: Mapping[str, Any], force: bool) -> None:
    # The package writes to a path of its own; the bytes then go where they belong, whole or not at all.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "vector.gguf"
        writer = gguf.GGUFWriter(made, ARCHITECTURE)
        for key, value in metadata.items():
            if isinstance(value, str):
                writer.add_string(key, value)
            elif isinstance(value, list):
                writer.add_array(key, value)
            elif isinstance(value, float):
                writer.add_float64(key, value)
            else:
                writer.add_uint32(key, value)
        for layer, vector in sorted(added.items()):
            writer.add_tensor(f"direction.{layer}", vector.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        content = made.read_bytes()
    write_bytes(target, content, force=force)


def import_gguf(
    path: str | Path,
    model: Handle | None = None,
    *,
    depth: int | None = None,
    norms: Mapping[int, float] | None = None,
) -> Direction:
    """Return the direction in a GGUF control vector; `coefficient=1, unit="raw"` does what the file does in llama.cpp.

    Args:
        path: a file written by steersman, repeng or another tool.
        model: the model it is for; its residual norms are measured on built-in texts where the file holds none of it.
        depth: number of decoder blocks, where there is neither a model nor a word of it in the file.
        norms: `{layer: mean residual norm}`, where they are known.

    Returns:
        A direction at `resid_post`. Where no norms are known, a vector's own length stands for them: a coefficient then
        means the same in both units, and `method` says so.

    Raises:
        FileError: for a file that is missing, truncated, damaged, or no control vector.
        InputError: when the depth is unknown.
        MismatchError: when it does not fit the model.
    """
    source = Path(path).expanduser()
    vectors, held = read_control_vector(source)
    try:
        return _direction(vectors, held, model, depth, norms)
    except FileError:
        raise
    except MismatchError as error:
        raise MismatchError(f"{source}: {error}") from None
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _direction(
    vectors: dict[int, Vector],
    held: Mapping[str, Any],
    model: Handle | None,
    depth: int | None,
    norms: Mapping[int, float] | None,
) -> Direction:
    width = len(next(iter(vectors.values())))
    stored = held.get("steersman.depth")
    blocks = model.depth if model else depth or (stored if isinstance(stored, int) else None)
    if blocks is None:
        raise InputError("expected the model, or its number of layers, for a file that does not say; give one")
    if model and width != model.width:
        raise MismatchError(f"expected width {model.width} ({model.name}), got {width}")
    if isinstance(stored, int) and stored != blocks:
        raise MismatchError(f"expected a control vector for {blocks} layers, got one for {stored}")
    if max(vectors) >= blocks:
        raise MismatchError(f"expected layers below {blocks}, got direction.{max(vectors)}")
    origin = _origin(held, width, blocks) or _foreign(held, model, width, blocks)
    known, words = _norms(vectors, held, model, norms, origin)
    strength = held.get("steersman.coefficient")
    baked = f" x {strength:g} {held.get('steersman.unit', '')}" if isinstance(strength, float) else ""
    method = f"{held.get('steersman.method') or 'control vector'}{baked}, from GGUF{words}"
    return Direction(
        {Site(layer): vector for layer, vector in vectors.items()},
        {Site(layer): float(norm) for layer, norm in known.items()},
        origin,
        method,
        ranges=_stored_ranges(held, model, origin),
    )


def _stored_ranges(held: Mapping[str, Any], model: Handle | None, origin: Origin) -> tuple[Range, ...]:
    """Return the ranges that a file of ours holds; none for a model that they were not found on."""
    text = held.get("steersman.ranges")
    return ranges_in_text(text) if isinstance(text, str) and _same(model, origin) else ()


def _same(model: Handle | None, origin: Origin) -> bool:
    """Return whether a file is used on the model that it says it was made for, as far as is known."""
    return model is None or (bool(origin.revision) and origin.revision == model.revision)


def _norms(
    vectors: Mapping[int, Vector],
    held: Mapping[str, Any],
    model: Handle | None,
    norms: Mapping[int, float] | None,
    origin: Origin,
) -> tuple[Mapping[int, float], str]:
    if norms is not None:
        if set(norms) != set(vectors):
            raise InputError(f"expected a norm for each of the layers {sorted(vectors)}, got {sorted(norms)}")
        return norms, ""
    stored = held.get("steersman.norms")
    if isinstance(stored, list) and len(stored) == len(vectors) and _same(model, origin):
        if not all(isinstance(norm, int | float) for norm in stored):
            raise FileError("expected numbers as 'steersman.norms', got others")
        return dict(zip(sorted(vectors), map(float, stored), strict=True)), ""
    if model is not None:
        measured = record(model, pairs("refusal")[:_MEASURED_ON], layers=sorted(vectors)).norms
        return {site.layer: norm for site, norm in measured.items()}, f", norms measured on {model.name}"
    return {layer: length(vector) for layer, vector in vectors.items()}, ", residual norms unknown (norm means raw)"


def _origin(held: Mapping[str, Any], width: int, depth: int) -> Origin | None:
    """Return where a file of ours says it comes from; `None` where it does not, or not as we would."""
    try:
        values = json.loads(held["steersman.origin"])
        kinds = {field.name: field.type for field in fields(Origin)}
        if set(values) != set(kinds) or any(type(values[name]) is not kind for name, kind in kinds.items()):
            return None
        origin = Origin(**values)
        Span.parse(origin.span)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return origin if (origin.width, origin.depth) == (width, depth) and origin.n >= 0 else None


def _foreign(held: Mapping[str, Any], model: Handle | None, width: int, depth: int) -> Origin:
    name = (
        model.name if model else str(held.get("steersman.model") or held.get("controlvector.model_hint") or "unknown")
    )
    # What was read to fit it, nobody says: `all` and no pairs.
    return Origin(
        name, model.revision if model else "", model.template if model else "", width, depth, "all", data="", n=0
    )
