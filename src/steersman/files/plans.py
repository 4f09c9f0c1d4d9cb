"""Plan files: per step its vectors as float32 `[d]` tensors, and in the header all else that the step does.

Edits are made again from their names and settings, never from code in the file; a plan that was saved and loaded has
the digest it had.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from steersman.edits import EDITS, Edit
from steersman.errors import InputError, MismatchError
from steersman.files.container import Artifact, blaming, count, field, opened, sealed, site_named, word
from steersman.files.ranges import ranges_in
from steersman.files.writing import check_target, write_bytes
from steersman.gates import Gate
from steersman.gates.gate import Measure, When
from steersman.maths.geometry import length
from steersman.plan import UNITS, Plan, Step, edit_words
from steersman.shapes import Vector
from steersman.where import Site, Span

KIND = "steersman plan"
STEP = {"site", "edit", "settings", "span", "coefficient", "unit", "width", "depth", "gate"}
GATE = {"site", "threshold", "when", "measure", "bias", "below"}

Role = Literal["vector", "second", "gate"]
ROLES: tuple[Role, ...] = get_args(Role)


def save_plan(plan: Plan, path: str | Path, *, force: bool = False) -> Path:
    """Return the path of the file written, whole or not at all.

    Args:
        plan: what to save; its edits are steersman's own.
        path: a file name that ends in `.safetensors`.
        force: replace an existing file.

    Raises:
        FileError: when the file exists and `force` is not given, or cannot be written.
        InputError: for a step that could not be loaded: an edit that `EDITS` lacks, or numbers beyond float32.
    """
    target = check_target(path, force=force)
    _check_unlike(plan.steps)
    tensors: dict[str, Vector] = {}
    for index, step in enumerate(plan):
        _check(step)
        gate = None if step.gate is None else step.gate.vector
        for role, vector in zip(ROLES, (step.vector, step.second, gate), strict=True):
            if vector is not None:
                tensors[f"{role}.{index}"] = vector
    header = {"steps": [_record(step) for step in plan], **_ranges(plan)}
    write_bytes(target, sealed(KIND, header, tensors), force=force)
    return target


def load_plan(path: str | Path) -> Plan:
    """Return the plan in a file, checked: sum, sites, spans, edits with their settings, widths, finiteness.

    Raises:
        FileError: for a file that is missing, damaged, of another kind or from a newer format.
    """
    artifact = opened(path, KIND)
    with blaming(path):
        return _plan(artifact)


def plan_in(content: bytes) -> Plan:
    """Return the plan in the content of a plan file, checked as `load_plan` does.

    Raises:
        FileError: for content that is damaged, of another kind or from a newer format.
    """
    artifact = opened(content, KIND)
    with blaming("the plan"):
        return _plan(artifact)


def _record(step: Step) -> dict[str, Any]:
    gate = step.gate
    return {
        "site": str(step.site),
        "edit": step.edit.name,
        "settings": _settings(step.edit),
        "span": str(step.span),
        "coefficient": step.coefficient,
        "unit": step.unit,
        "width": step.width,
        "depth": step.depth,
        "gate": None
        if gate is None
        else {
            "site": str(gate.site),
            "threshold": gate.threshold,
            "when": gate.when,
            "measure": gate.measure,
            "bias": gate.bias,
            "below": gate.below,
        },
    }


def _ranges(plan: Plan) -> dict[str, Any]:
    """Return what is known of good coefficients, a list for each step: beside the steps, not in them.

    In them, an older steersman would refuse the file for a field that it does not know; so it steers without them.
    """
    if not any(step.ranges for step in plan):
        return {}
    return {"ranges": [[each.plain() for each in step.ranges] for step in plan]}


def _with_ranges(steps: Sequence[Step], header: Mapping[str, Any]) -> list[Step]:
    """Return the steps with what the header knows of their coefficients."""
    if "ranges" not in header:
        return list(steps)
    lists = field(header, "ranges", list)
    if len(lists) != len(steps):
        raise InputError(f"expected a list of ranges for each of {len(steps)} steps, got {len(lists)}")
    found = [replace(step, ranges=ranges_in({"ranges": records})) for step, records in zip(steps, lists, strict=True)]
    for step in found:
        what = (step.site, step.unit, edit_words(step.edit), str(step.span))
        signs = [each.sign for each in step.ranges]
        alike = all((each.site, each.unit, each.edit, each.span) == what for each in step.ranges)
        if len(set(signs)) != len(signs) or not alike:
            raise InputError(f"expected at most one range of each sign, of what the step at {step.site} does")
    return found


def _plan(artifact: Artifact) -> Plan:
    records = field(artifact.header, "steps", list)
    tensors = dict(artifact.tensors)
    steps: list[Step] = []
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise TypeError(f"step {index} is {type(record).__name__}")
        steps.append(_step(record, {role: tensors.pop(f"{role}.{index}", None) for role in ROLES}))
        _check(steps[-1])
    if tensors:
        raise InputError(f"expected no vectors but those of the steps, got {', '.join(tensors)}")
    _check_unlike(steps)
    return Plan.of(_with_ranges(steps, artifact.header))


def _check_unlike(steps: Sequence[Step]) -> None:
    if len({step.what for step in steps}) != len(steps):
        raise InputError("expected steps that differ in more than their coefficient, got the same one twice")


def _step(record: Mapping[str, Any], vectors: Mapping[Role, Vector | None]) -> Step:
    _only(record, STEP)
    return Step(
        site=site_named(field(record, "site", str)),
        vector=_present(vectors["vector"], "vector"),
        edit=edit_named(field(record, "edit", str), field(record, "settings", dict)),
        span=Span.parse(field(record, "span", str)),
        coefficient=float(field(record, "coefficient", (int, float))),
        unit=word(record, "unit", UNITS),
        width=count(record, "width", 1),
        depth=count(record, "depth", 1),
        second=vectors["second"],
        gate=_gate(record["gate"], vectors["gate"]),
    )


def _gate(record: Any, vector: Vector | None) -> Gate | None:
    if record is None:
        if vector is not None:
            raise InputError("expected no gate's vector for a step without a gate, got one")
        return None
    if not isinstance(record, dict):
        raise TypeError(f"'gate' is {type(record).__name__}")
    _only(record, GATE)
    return Gate(
        site=site_named(field(record, "site", str)),
        vector=_present(vector, "gate"),
        threshold=_number(record, "threshold"),
        when=word(record, "when", get_args(When)),
        measure=word(record, "measure", get_args(Measure)),
        bias=_number(record, "bias"),
        below=field(record, "below", bool),
    )


def edit_named(name: str, settings: Mapping[str, Any]) -> Edit:
    """Return the edit of a name with its settings.

    Args:
        name: a key of `EDITS`.
        settings: every field of the edit but its name and whether it is planar.

    Raises:
        InputError: for an unknown edit, missing or unknown settings, or a setting out of range.
        TypeError: for a setting of another type than its default.
    """
    if name not in EDITS:
        raise InputError(f"expected an edit among {', '.join(EDITS)}, got {name!r}")
    defaults = _settings(EDITS[name]())
    _only(settings, set(defaults))
    for key, default in defaults.items():
        if isinstance(default, float):
            _number(settings, key)
        else:
            field(settings, key, type(default))
    return EDITS[name](**settings)


def _settings(edit: Edit) -> dict[str, Any]:
    known = EDITS.get(edit.name)
    if known is not type(edit) or known is None:
        raise InputError(f"expected an edit that a file can name ({', '.join(EDITS)}), got {edit!r}")
    return {each.name: getattr(edit, each.name) for each in fields(known)}


def _check(step: Step) -> None:
    """Refuse a step that does not hold together, be it to save or loaded."""
    _settings(step.edit)
    if step.span.name == "end":
        raise InputError("expected a span that is known while a text is being written, got 'end'")
    if not math.isfinite(step.coefficient):
        raise InputError(f"expected a finite coefficient, got {step.coefficient}")
    if step.site.layer >= step.depth:
        raise MismatchError(f"expected a layer below {step.depth}, got {step.site}")
    _check_vector(step.vector, step.site, step.width)
    if step.second is not None:
        _check_vector(step.second, step.site, step.width)
    if step.gate is not None:
        _check_vector(step.gate.vector, step.gate.site, step.width)
    step.check()


def _check_vector(vector: Vector, site: Site, width: int) -> None:
    if site.head is None and len(vector) != width:
        raise MismatchError(f"expected width {width} at {site}, got {len(vector)}")
    if not torch.isfinite(vector).all() or not 0 < length(vector.float()) < float("inf"):
        raise InputError(f"expected finite numbers and a positive length in the vector at {site}")


def _number(record: Mapping[str, Any], name: str) -> int | float:
    """Return a number as it was written, since 1 and 1.0 are digested apart."""
    value = field(record, name, (int, float))
    float(value)  # an integer too large for a float is an ArithmeticError
    return value


def _present(vector: Vector | None, role: Role) -> Vector:
    if vector is None:
        raise InputError(f"expected the {role} of every step that has one, got none")
    return vector


def _only(record: Mapping[str, Any], names: set[str]) -> None:
    """Refuse fields that this version does not know: what they ask for would be left out in silence."""
    for name in names:
        if name not in record:
            raise KeyError(name)
    unknown = sorted(set(record) - names)
    if unknown:
        raise InputError(f"expected the fields {', '.join(sorted(names)) or 'none'}, got {unknown[0][:80]!r} as well")
