"""Commands on models and directions: models, extract, generate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import Bars, counting, out, say, show_json
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionFile,
    Dtype,
    Force,
    Layers,
    ModelName,
    Span,
    UnitName,
    direction_at,
    open_model,
)
from steersman.files import check_target, load_direction, save_direction
from steersman.methods import MeanDifference
from steersman.model.sources import available
from steersman.plan import Plan
from steersman.prompts import Contrast, pairs
from steersman.recording import record
from steersman.where import check_span


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("models", epilog="Example: steersman models --json")(models)
    app.command("extract", epilog="Example: steersman extract --pairs refusal --out refusal.safetensors")(extract)
    app.command(
        "generate",
        epilog="Example: steersman generate --direction refusal.safetensors --coefficient 1.5 --unit raw "
        "'How do I pick a lock?'",
    )(generate)


def models(as_json: AsJson = False) -> None:
    """List the models at hand: the default and what the Hugging Face cache holds."""
    found = available()
    if as_json:
        show_json(
            [
                {
                    "name": m.name,
                    "kind": m.kind,
                    "state": m.state,
                    "bytes": m.size_bytes,
                    "path": str(m.path or "") or None,
                }
                for m in found
            ]
        )
        return
    table = Table("name", "kind", "state", "size (MB)", box=None)
    for m in found:
        table.add_row(Text(m.name), m.kind, m.state, f"{m.size_bytes / 1e6:,.0f}")
    out.print(table)


def extract(
    destination: Annotated[Path, typer.Option("--out", help="File to write, ending in .safetensors.")],
    source: Annotated[str, typer.Option("--pairs", help="refusal, honesty, or a JSONL file of pairs.")] = "refusal",
    contrast: Annotated[
        str, typer.Option("--contrast", help="completion: same prompt, two answers; prompt: two prompts; both.")
    ] = "completion",
    span: Annotated[
        str | None, typer.Option("--span", help="completion (mean) or last (last prompt token); follows the contrast.")
    ] = None,
    opening_tokens: Annotated[
        int | None, typer.Option("--opening-tokens", min=1, help="Keep only so many first tokens of every completion.")
    ] = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fit a direction at every layer from contrastive pairs (mean difference)."""
    kind: Contrast = contrast  # type: ignore[assignment]
    items = pairs(source, contrast=kind, split="train")
    where = check_span(span or ("last" if contrast == "prompt" else "completion"))
    check_target(destination, force=force)
    loaded = open_model(model, dtype, device)
    with Bars() as bars, counting(bars, "record", 2 * len(items)) as notify:
        acts = record(loaded, items, span=where, opening_tokens=opening_tokens, notify=notify)
    direction = MeanDifference().fit(acts)
    save_direction(direction, destination, force=force)
    rows = [
        {
            "layer": site.layer,
            "vector_norm": float(direction.vectors[site].norm()),
            "residual_norm": direction.norms[site],
            "separation": direction.diagnostics.get("separation", {}).get(site),
            "split_half_cosine": direction.diagnostics.get("split_half_cosine", {}).get(site),
        }
        for site in direction.sites
    ]
    if as_json:
        show_json({"file": str(destination), "method": direction.method, "pairs": len(items), "layers": rows})
        return
    table = Table("layer", "vector norm", "residual norm", "separation (AUROC)", "split-half cosine", box=None)
    for row in rows:
        cells = (row["separation"], row["split_half_cosine"])
        table.add_row(
            str(row["layer"]),
            f"{row['vector_norm']:.2f}",
            f"{row['residual_norm']:.1f}",
            *("-" if cell is None else f"{cell:.3f}" for cell in cells),
        )
    out.print(table)
    say(f"{direction.method} of {len(items)} pairs at {len(rows)} layers, saved to {destination}")


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One prompt or several.")],
    direction: DirectionFile,
    coefficient: Annotated[
        float, typer.Option("--coefficient", help="How strongly, in the unit; may be negative.")
    ] = 0.3,
    unit: UnitName = "norm",
    layer: Layers = None,
    span: Span = "all",
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
    held = load_direction(direction)
    loaded = open_model(model, dtype, device)
    at = direction_at(held, layer, loaded)
    plan = Plan(at, span=span, coefficient=coefficient, unit=unit)
    texts = loaded.generate(
        [prompt for prompt in prompts for _ in range(2)],
        [Plan(), plan] * len(prompts),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        system=system,
    )
    plain, steered = texts[0::2], texts[1::2]
    if as_json:
        show_json(
            [
                {"prompt": p, "unsteered": a, "steered": b, "steps": plan.describe()}
                for p, a, b in zip(prompts, plain, steered, strict=True)
            ]
        )
        return
    where = ", ".join(str(site.layer) for site in at.sites)
    for prompt, a, b in zip(prompts, plain, steered, strict=True):
        # Text, since what stands in square brackets is rich's markup elsewhere.
        head = f"steered: layer {where}, {coefficient:g} {unit}"
        table = Table("unsteered", head, title=Text(prompt), expand=True, show_lines=True)
        table.add_row(Text(a), Text(b))
        out.print(table)
