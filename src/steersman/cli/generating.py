"""The command that steers: generate."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import on_terminal, say, show_json, show_table
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionName,
    Dtype,
    Force,
    ModelName,
    Places,
    PlanFile,
    SpanText,
    UnitName,
    open_model,
)
from steersman.cli.places import check_fit, check_writable
from steersman.cli.planning import EDITS, Wanted, plan_of, source_named, warned
from steersman.cli.words import describe, gate_words, steps_of
from steersman.errors import InterventionError
from steersman.files import check_target, save_plan
from steersman.model.generate import Generation, Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan

EXAMPLE = (
    "Example: steersman generate --direction refusal.safetensors --coefficient 1.5 --unit raw 'How do I pick a lock?'"
)
TOGETHER = 16
"""Prompts of a batch, each in two rows: unsteered and steered."""
ROWS = r" \(rows ([\d, ]+)\)"
"""How an error names rows of a batch."""

Coefficient = Annotated[
    float | None,
    typer.Option(
        "--coefficient",
        help="How strongly, in the unit; may be negative. If not given, what the direction's file recommends, else 0.3 "
        "for add. Of ablate and clamp a share; 1 if not given.",
    ),
]
EditName = Annotated[str | None, typer.Option("--edit", help=f"One of {', '.join(EDITS)}; add if not given.")]
Value = Annotated[
    float | None, typer.Option("--value", help="Of clamp: where the projection goes to, in the unit; 0 if not given.")
]
Side = Annotated[str | None, typer.Option("--side", help="Of clamp: both, above (a cap) or below (a floor).")]
Degrees = Annotated[float | None, typer.Option("--degrees", help="Of rotate: the angle; 90 if not given.")]
Toward = Annotated[
    Path | None, typer.Option("--toward", help="Of rotate: the file of the direction that is turned to.")
]
Everywhere = Annotated[
    bool, typer.Option("--everywhere", help="Of ablate: act on every block's input, attention and MLP, from one site.")
]
GateFile = Annotated[Path | None, typer.Option("--gate", help="Steer only where this direction's projection is high.")]
GateThreshold = Annotated[
    float | None, typer.Option("--gate-threshold", help="How high, in the units of the activations.")
]
GateWhen = Annotated[
    str | None, typer.Option("--gate-when", help="prompt: decide once, at the prompt's last token; token: at each.")
]
GateLayer = Annotated[
    str | None,
    typer.Option("--gate-layer", help="Where the gate reads, a layer or a site; where it is steered if not given."),
]
SavePlan = Annotated[
    Path | None, typer.Option("--save-plan", help="File to write the plan to, ending in .safetensors; --plan takes it.")
]


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One prompt or several.")],
    direction: DirectionName = None,
    plan: PlanFile = None,
    coefficient: Coefficient = None,
    unit: UnitName = None,
    layer: Places = None,
    span: SpanText = None,
    edit: EditName = None,
    value: Value = None,
    side: Side = None,
    degrees: Degrees = None,
    toward: Toward = None,
    everywhere: Everywhere = False,
    gate: GateFile = None,
    gate_threshold: GateThreshold = None,
    gate_when: GateWhen = None,
    gate_layer: GateLayer = None,
    save: SavePlan = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Limit of every completion.")] = 64,
    temperature: Annotated[float, typer.Option("--temperature", help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of sampling, when the temperature is above 0.")] = 0,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Complete prompts unsteered and steered, side by side."""
    wanted = Wanted(
        coefficient=coefficient, unit=unit, layer=layer, span=span, edit=edit, value=value, side=side,
        degrees=degrees, toward=toward, everywhere=everywhere or None, gate=gate, gate_threshold=gate_threshold,
        gate_when=gate_when, gate_layer=gate_layer,
    )  # fmt: skip
    held = source_named(direction, plan, asdict(wanted))
    made = held if isinstance(held, Plan) else plan_of(held, wanted)
    warnings = warned(made)
    sampling = Sampling(max_new_tokens, temperature, seed=seed)
    if save:
        check_target(save, force=force)
        check_writable(save)
    loaded = open_model(model, dtype, device)
    if isinstance(held, Plan):
        loaded.check(held)
    else:
        check_fit(held, loaded)
    rows = completed(loaded, prompts, made, sampling, system)
    if save:
        save_plan(made, save, force=force)
        say(f"plan: {save}")
    present(prompts, rows, made, describe(made, toward.name if toward else ""), as_json, warnings)


def completed(
    model: Model, prompts: Sequence[str], plan: Plan, sampling: Sampling, system: str | None
) -> list[tuple[Generation, Generation]]:
    """Return for every prompt its completion unsteered and steered.

    Raises:
        InterventionError: when the plan was never applied in a prompt's row, naming the prompt.
    """
    rows: list[tuple[Generation, Generation]] = []
    for start in range(0, len(prompts), TOGETHER):
        part = prompts[start : start + TOGETHER]
        twice = [prompt for prompt in part for _ in range(2)]
        try:
            made = model.complete(twice, [Plan(), plan] * len(part), sampling, system)
        except InterventionError as error:
            raise InterventionError(_by_prompt(str(error), twice)) from None
        rows += zip(made[0::2], made[1::2], strict=True)
    return rows


def present(
    prompts: Sequence[str],
    rows: Sequence[tuple[Generation, Generation]],
    plan: Plan,
    words: str,
    as_json: bool,
    warnings: Sequence[str] = (),
) -> None:
    """Print the completions beside each other, and whether a gate let the plan act."""
    if as_json:
        every = {"steps": steps_of(plan), "warnings": list(warnings)}
        show_json(
            [
                {"prompt": p, "unsteered": a.text, "steered": b.text, "gates": dict(b.gates), **every}
                for p, (a, b) in zip(prompts, rows, strict=True)
            ]
        )
        return
    for prompt, (a, b) in zip(prompts, rows, strict=True):
        # Text, since what stands in square brackets is rich's markup elsewhere.
        caption = Text(gate_words(plan, b.gates))
        table = Table(title=Text(prompt), caption=caption, expand=on_terminal(), show_lines=True)
        table.add_column("unsteered", overflow="fold")
        table.add_column(Text(f"steered: {words}"), overflow="fold")
        table.add_row(Text(a.text), Text(b.text))
        show_table(table)


def _by_prompt(sentence: str, prompts: Sequence[str]) -> str:
    """Return a sentence about rows of a batch that nobody typed as one about the prompts in them."""
    rows = sorted({int(row) for group in re.findall(ROWS, sentence) for row in group.split(",")})
    texts = dict.fromkeys(prompts[row] for row in rows)
    shown = ", ".join(repr(text if len(text) <= 40 else text[:40] + "...") for text in texts)
    where = f" in the prompt{'s' if len(texts) > 1 else ''} {shown}" if texts else ""
    return re.sub(ROWS, "", sentence).replace("never applied", f"never applied{where}", 1)
