"""The command that steers: generate."""

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import out, show_json
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionName,
    Dtype,
    Layers,
    ModelName,
    SpanText,
    UnitName,
    direction_at,
    one_of,
    open_model,
)
from steersman.direction import Direction
from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Edit, Rotate
from steersman.edits.clamp import Side as ClampSide
from steersman.errors import InputError
from steersman.exchange import find_direction
from steersman.files import load_direction
from steersman.gates import Gate
from steersman.gates.gate import When
from steersman.model.loaded import Model
from steersman.plan import Plan

EXAMPLE = (
    "Example: steersman generate --direction refusal.safetensors --coefficient 1.5 --unit raw 'How do I pick a lock?'"
)
EDITS = {"add": 0.3, "add_keeping_norm": 0.3, "ablate": 1.0, "clamp": 1.0, "rotate": 1.0}
"""The edits, and the coefficient of each where none is given."""

Coefficient = Annotated[
    float | None,
    typer.Option(
        "--coefficient",
        help="How strongly, in the unit; 0.3 for add, may be negative. Of ablate and clamp a share; 1 if not given.",
    ),
]
EditName = Annotated[str, typer.Option("--edit", help=f"One of {', '.join(EDITS)}.")]
Value = Annotated[
    float | None, typer.Option("--value", help="Of clamp: where the projection goes to, in the unit; 0 if not given.")
]
Side = Annotated[str | None, typer.Option("--side", help="Of clamp: both, above (a cap) or below (a floor).")]
Degrees = Annotated[float | None, typer.Option("--degrees", help="Of rotate: the angle; 90 if not given.")]
Toward = Annotated[
    Path | None, typer.Option("--toward", help="Of rotate: the file of the direction that is turned to.")
]
Everywhere = Annotated[
    bool, typer.Option("--everywhere", help="Act on every block's input, attention and MLP; for ablate.")
]
GateFile = Annotated[Path | None, typer.Option("--gate", help="Steer only where this direction's projection is high.")]
GateThreshold = Annotated[
    float | None, typer.Option("--gate-threshold", help="How high, in the units of the activations.")
]
GateWhen = Annotated[
    str | None, typer.Option("--gate-when", help="prompt: decide once, at the prompt's last token; token: at each.")
]
GateLayer = Annotated[
    str | None, typer.Option("--gate-layer", help="Where the gate reads; the layer that is steered if not given.")
]


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One prompt or several.")],
    direction: DirectionName,
    coefficient: Coefficient = None,
    unit: UnitName = "norm",
    layer: Layers = None,
    span: SpanText = "all",
    edit: EditName = "add",
    value: Value = None,
    side: Side = None,
    degrees: Degrees = None,
    toward: Toward = None,
    everywhere: Everywhere = False,
    gate: GateFile = None,
    gate_threshold: GateThreshold = None,
    gate_when: GateWhen = None,
    gate_layer: GateLayer = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Limit of every completion.")] = 64,
    temperature: Annotated[float, typer.Option("--temperature", help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of sampling, when the temperature is above 0.")] = 0,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Complete prompts unsteered and steered, side by side."""
    held = find_direction(direction)
    how = edit_named(edit, value, side, degrees)
    if how.planar != (toward is not None):
        raise InputError("expected --toward FILE with --edit rotate and with no other edit")
    second = load_direction(toward) if toward else None
    gates = gate_direction(gate, gate_threshold, gate_when, gate_layer)
    loaded = open_model(model, dtype, device)
    at = direction_at(held, layer, loaded)
    fires = gate_at(gates, gate_threshold, gate_when, gate_layer, at, loaded)
    strength = EDITS[edit] if coefficient is None else coefficient
    target = at.everywhere() if everywhere else at
    plan = Plan(target, how, span=span, coefficient=strength, unit=unit, second=second, gate=fires)
    texts = loaded.generate(
        [prompt for prompt in prompts for _ in range(2)],
        [Plan(), plan] * len(prompts),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        system=system,
    )
    where = "everywhere" if everywhere else "layer " + ", ".join(str(site.layer) for site in at.sites)
    head = f"steered: {where}, {'' if edit == 'add' else edit + ' '}{strength:g} {unit}"
    present(prompts, texts[0::2], texts[1::2], plan, head, as_json)


def present(prompts: list[str], plain: list[str], steered: list[str], plan: Plan, head: str, as_json: bool) -> None:
    """Print the completions beside each other."""
    rows = list(zip(prompts, plain, steered, strict=True))
    if as_json:
        steps = plan.describe()
        show_json([{"prompt": p, "unsteered": a, "steered": b, "steps": steps} for p, a, b in rows])
        return
    for prompt, a, b in rows:
        # Text, since what stands in square brackets is rich's markup elsewhere.
        table = Table("unsteered", head, title=Text(prompt), expand=True, show_lines=True)
        table.add_row(Text(a), Text(b))
        out.print(table)


def edit_named(name: str, value: float | None, side: str | None, degrees: float | None) -> Edit:
    """Return the edit of that name with its settings.

    Raises:
        InputError: for an unknown name, or a setting of another edit.
    """
    one_of("--edit", name, EDITS)
    for option, setting, owner in (("value", value, "clamp"), ("side", side, "clamp"), ("degrees", degrees, "rotate")):
        if setting is not None and name != owner:
            raise InputError(f"expected --{option} with --edit {owner}, got it with --edit {name}")
    if name == "clamp":
        return Clamp(value or 0.0, one_of("--side", side or "both", get_args(ClampSide)))
    if name == "rotate":
        return Rotate(90.0 if degrees is None else degrees)
    return {"add": Add, "add_keeping_norm": AddKeepingNorm, "ablate": Ablate}[name]()


def gate_direction(path: Path | None, threshold: float | None, when: str | None, layer: str | None) -> Direction | None:
    """Return the direction that a gate reads along, where one was asked for.

    Raises:
        InputError: for a gate without a threshold, or a gate's options without a gate.
    """
    if path is None:
        if threshold is not None or when is not None or layer is not None:
            raise InputError("expected --gate FILE beside the gate's other options, got none")
        return None
    if threshold is None:
        raise InputError("expected --gate-threshold beside --gate, got none; gates.fit_gate finds one")
    return load_direction(path)


def gate_at(
    direction: Direction | None,
    threshold: float | None,
    when: str | None,
    layer: str | None,
    steered: Direction,
    model: Model,
) -> Gate | None:
    """Return the gate at its layer: the first that is steered, where none is given.

    Raises:
        InputError: for a layer that the gate's direction does not hold, or several.
    """
    if direction is None or threshold is None:
        return None
    at = direction_at(direction, [layer or str(steered.sites[0].layer)], model)
    if len(at.sites) != 1:
        raise InputError(f"expected one layer for --gate-layer, got {layer!r}")
    decides: When = one_of("--gate-when", when or "prompt", get_args(When))
    return Gate(at.sites[0], at.vectors[at.sites[0]], threshold, decides)
