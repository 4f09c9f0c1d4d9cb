"""From options to a plan: a direction with its edit, place, strength and gate, or a plan file. Needs no model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from steersman.cli.console import say
from steersman.cli.options import one_of
from steersman.cli.places import check_same_model, direction_named, is_artifact, one_site_at, sites_at
from steersman.direction import Direction
from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Edit, Rotate
from steersman.edits.clamp import Side
from steersman.errors import InputError
from steersman.files import load_plan
from steersman.gates import Gate
from steersman.gates.gate import When
from steersman.plan import Plan, edit_words
from steersman.where import Span

EDITS = {"add": 0.3, "add_keeping_norm": 0.3, "ablate": 1.0, "clamp": 1.0, "rotate": 1.0}
"""The edits, and the coefficient of each where none is given and the direction's file recommends none."""


@dataclass(frozen=True)
class Wanted:
    """The options that say how to steer with a direction; `None` where not given."""

    coefficient: float | None = None
    unit: str | None = None
    layer: list[str] | None = None
    span: str | None = None
    edit: str | None = None
    value: float | None = None
    side: str | None = None
    degrees: float | None = None
    toward: Path | None = None
    everywhere: bool | None = None
    gate: Path | None = None
    gate_threshold: float | None = None
    gate_when: str | None = None
    gate_layer: str | None = None


def source_named(direction: str | None, plan: Path | None, options: Mapping[str, Any]) -> Direction | Plan:
    """Return the direction or the plan that a command was given, read and checked.

    Args:
        direction: a file, or owner/name on the hub.
        plan: a plan file.
        options: of the direction, by their names in Python, `None` where not given; a plan has its own.

    Raises:
        InputError: for both or neither, an option of a direction beside a plan, or a plan without a step that acts.
        FileError: for a file that is missing, damaged or of another kind.
    """
    if (direction is None) == (plan is None):
        raise InputError(
            f"expected --direction or --plan, exactly one of both, got {'neither' if plan is None else 'both'}"
        )
    if plan is None:
        return direction_named(direction or "")
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(f"expected --plan without {_flags(given)}, got it beside a plan, which has its own")
    if is_artifact(plan.expanduser(), "steersman direction"):
        raise InputError(
            f"expected a plan file for --plan, got the direction file {str(plan)!r}; give it with --direction"
        )
    held = load_plan(plan)
    if not any(step.coefficient for step in held):
        raise InputError(f"expected a plan that does something in {str(plan)!r}, got no step or coefficient 0 in all")
    return held


def plan_of(held: Direction, wanted: Wanted) -> Plan:
    """Return the plan that the options make of a direction.

    Raises:
        InputError: for options that do not go together, or values out of range.
        MismatchError: for a second direction or a gate of another model.
    """
    name = one_of("--edit", wanted.edit or "add", EDITS)
    edit = edit_named(name, wanted)
    if edit.planar != (wanted.toward is not None):
        raise InputError("expected --toward FILE with --edit rotate and with no other edit")
    at = _spread(held, name, wanted) if wanted.everywhere else sites_at(held, wanted.layer)
    second = None
    if wanted.toward:
        second = direction_named(wanted.toward, "--toward")
        check_same_model(held, second, "--toward")
    span, unit = wanted.span or "all", wanted.unit or "norm"
    return Plan(
        at,
        edit,
        span=span,
        coefficient=usual_coefficient(at, edit, unit, span) if wanted.coefficient is None else wanted.coefficient,
        unit=unit,
        second=second,
        gate=_gate(held, at, wanted),
    )


def usual_coefficient(at: Direction, edit: Edit, unit: str, span: str) -> float:
    """Return the coefficient to take where none was given: what the direction's file recommends, and says so.

    Args:
        at: the direction at its sites.
        edit: how it steers.
        unit: of the coefficient.
        span: the tokens that are steered, as typed.
    """
    found = at.recommendation(unit, edit_words(edit), str(Span.parse(span)))
    if found is None or found.coefficient is None:
        return EDITS[edit.name]
    because = f": {found.reason}" if found.reason else ""
    where = ", ".join(map(str, found.sites))
    say(f"coefficient {found.coefficient:g} {unit} at {where}, as the direction's file recommends{because}")
    return found.coefficient


def warned(*plans: Plan) -> list[str]:
    """Return what there is to warn of in the coefficients of some plans, and say it on stderr."""
    found = Plan().beyond(*plans)
    for sentence in found:
        say(f"warning: {sentence}")
    return found


def edit_named(name: str, wanted: Wanted) -> Edit:
    """Return the edit of that name with its settings.

    Raises:
        InputError: for a setting of another edit, or out of range.
    """
    for option, owner in (("value", "clamp"), ("side", "clamp"), ("degrees", "rotate")):
        if getattr(wanted, option) is not None and name != owner:
            raise InputError(f"expected --{option} with --edit {owner}, got it with --edit {name}")
    if name == "clamp":
        return Clamp(wanted.value or 0.0, one_of("--side", wanted.side or "both", get_args(Side)))
    if name == "rotate":
        return Rotate(90.0 if wanted.degrees is None else wanted.degrees)
    return {"add": Add, "add_keeping_norm": AddKeepingNorm, "ablate": Ablate}[name]()


def _spread(held: Direction, edit: str, wanted: Wanted) -> Direction:
    if edit != "ablate":
        raise InputError(f"expected --everywhere with --edit ablate, got it with --edit {edit}")
    return one_site_at(held, wanted.layer, "--layer").everywhere()


def _gate(held: Direction, at: Direction, wanted: Wanted) -> Gate | None:
    """Return the gate at its site: the first that is steered, where none is given."""
    if wanted.gate is None:
        if (wanted.gate_threshold, wanted.gate_when, wanted.gate_layer) != (None, None, None):
            raise InputError("expected --gate FILE beside the gate's other options, got none")
        return None
    if wanted.gate_threshold is None:
        raise InputError("expected --gate-threshold beside --gate, got none; in Python, sm.gates.fit_gate finds one")
    direction = direction_named(wanted.gate, "--gate")
    check_same_model(held, direction, "--gate")
    where = [wanted.gate_layer or str(at.sites[0] if at.sites[0] in direction.vectors else at.sites[0].layer)]
    read = one_site_at(direction, where, "--gate-layer")
    decides: When = one_of("--gate-when", wanted.gate_when or "prompt", get_args(When))
    return Gate(read.sites[0], read.vectors[read.sites[0]], wanted.gate_threshold, decides)


def _flags(names: Iterable[str]) -> str:
    return " and ".join("--" + name.replace("_", "-") for name in names)
