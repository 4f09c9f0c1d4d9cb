"""What a plan does, in words for table heads and as plain data for JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.edits import Clamp, Rotate
from steersman.gates import Gate
from steersman.plan import Plan, Step
from steersman.where import Site

SHOWN = 4
"""Sites that a head names one by one; of more it says how many."""
EVERYWHERE = ("resid_pre", "attn_out", "mlp_out")


def describe(plan: Plan, toward: str = "") -> str:
    """Return what a plan does in one line, such as `clamp to 0.2 norm from below at layer 14, span generated`.

    Args:
        plan: the plan; steps alike in all but their site are said together.
        toward: name of what a rotation turns to, where known.
    """
    groups: dict[tuple[Any, ...], list[Step]] = {}
    for step in plan:
        gate = step.gate.digest if step.gate else ""
        groups.setdefault((step.edit, step.coefficient, step.unit, step.span, gate), []).append(step)
    return "; ".join(_group(steps, toward) for steps in groups.values()) or "nothing"


def steps_of(plan: Plan) -> list[dict[str, Any]]:
    """Return a plan's steps as plain data: what `Plan.describe` says, and all that a gate decides by."""
    return [
        said if step.gate is None else said | _gate_settings(step.gate)
        for said, step in zip(plan.describe(), plan, strict=True)
    ]


def gate_words(plan: Plan, fired: Mapping[str, bool]) -> str:
    """Return whether a plan's gates fired in a row, in words; empty where it has none.

    Args:
        plan: the plan.
        fired: by the gate's site, for gates that decide at the prompt's end.
    """
    gates = {str(step.gate.site): step.gate for step in plan if step.gate is not None}
    said = {name: "decides at each token" for name, gate in gates.items() if gate.when == "token"}
    said |= {name: "fired" if yes else "did not fire, so nothing was steered" for name, yes in fired.items()}
    return "; ".join(f"gate at {name}: {words}" for name, words in said.items())


def _group(steps: Sequence[Step], toward: str) -> str:
    step = steps[0]
    words = f"{_edit(step, toward)} {_where(steps)}"
    if str(step.span) != "all":
        words += f", span {step.span}"
    return f"{words}, {_gate(step.gate)}" if step.gate else words


def _edit(step: Step, toward: str) -> str:
    strength, edit = step.coefficient, step.edit
    if isinstance(edit, Clamp):
        side = "" if edit.side == "both" else f" from {edit.side}"
        part = "" if strength == 1 else f", {strength:g} of the way,"
        return f"clamp to {edit.value:g} {step.unit}{side}{part}"
    if isinstance(edit, Rotate):
        return f"rotate {edit.degrees * strength:g}°" + (f" towards {toward}" if toward else "")
    if edit.name == "ablate":
        return f"ablate {strength:g}"
    kept = ", keeping the norm," if edit.name == "add_keeping_norm" else ""
    return f"{'add' if kept else edit.name} {strength:g} {step.unit}{kept}"


def _where(steps: Sequence[Step]) -> str:
    sites = [step.site for step in steps]
    everywhere = {Site(layer, point) for layer in range(steps[0].depth) for point in EVERYWHERE}  # type: ignore[arg-type]
    if set(sites) == everywhere:
        return "everywhere"
    if len(sites) > SHOWN:
        return f"at {len(sites)} sites, {sites[0]} to {sites[-1]}"
    if all(site == Site(site.layer) for site in sites):
        return f"at layer{'s' if len(sites) > 1 else ''} " + ", ".join(str(site.layer) for site in sites)
    return "at " + ", ".join(map(str, sites))


def _gate(gate: Gate) -> str:
    sense = "not above" if gate.below else "above"
    return f"where the {gate.measure} at {gate.site} is {sense} {gate.threshold:g} (by {gate.when})"


def _gate_settings(gate: Gate) -> dict[str, Any]:
    return {
        "gate": str(gate.site),
        "gate_threshold": gate.threshold,
        "gate_when": gate.when,
        "gate_measure": gate.measure,
        "gate_bias": gate.bias,
        "gate_below": gate.below,
    }
