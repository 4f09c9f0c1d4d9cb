"""Commands that give to others and take from them: export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from steersman.cli.console import out, say, show_json
from steersman.cli.options import (
    AsJson,
    Device,
    Dtype,
    Force,
    Layers,
    ModelName,
    UnitName,
    direction_at,
    one_of,
    open_model,
    usual_layer,
)
from steersman.direction import Direction
from steersman.edits import Ablate, Add
from steersman.errors import InputError
from steersman.exchange.baking import bake, check_folder
from steersman.exchange.card import Guidance
from steersman.exchange.gguf import export_gguf, import_gguf
from steersman.exchange.hub import FILENAME, find_direction, is_address, load_direction_from_hub, push
from steersman.files import check_target, load_plan, save_direction
from steersman.plan import Plan
from steersman.where import layers_in

FORMATS = ("gguf", "folder")
EDITS = {"add": Add(), "ablate": Ablate()}
"""That a model's weights can hold."""
Source = Annotated[
    str | None, typer.Option("--direction", help="A direction file, or owner/name[@revision] on the Hugging Face hub.")
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="A plan file instead, with coefficients of its own.")]
Coefficient = Annotated[
    float | None, typer.Option("--coefficient", help="How strongly, in the unit; it is written into what is exported.")
]
Everywhere = Annotated[
    bool, typer.Option("--everywhere", help="Of ablate: every block's input, attention and MLP, from one layer.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        "export",
        epilog="Example: steersman export --direction refusal.safetensors --layer 14 --coefficient 0.3 "
        "--format gguf --out refusal.gguf",
    )(export)
    app.command("import", epilog="Example: steersman import vector.gguf --out vector.safetensors")(import_)


def export(
    direction: Source = None,
    plan: PlanFile = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="gguf: a control vector for llama.cpp; folder: a model with the plan in it."),
    ] = None,
    destination: Annotated[Path | None, typer.Option("--out", help="The .gguf file, or the new folder.")] = None,
    coefficient: Coefficient = None,
    unit: UnitName = "norm",
    layer: Layers = None,
    edit: Annotated[str, typer.Option("--edit", help="Of a folder: add or ablate.")] = "add",
    everywhere: Everywhere = False,
    target: Annotated[
        str | None, typer.Option("--push", help="owner/name on the hub, with HF_TOKEN in the environment.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Of a new hub repository: everybody may see it.")] = False,
    file: Annotated[str, typer.Option("--file", help="Name of the file on the hub.")] = FILENAME,
    licence: Annotated[str, typer.Option("--license", help="For the hub's card, such as apache-2.0.")] = "other",
    base_model: Annotated[
        str | None, typer.Option("--base-model", help="For the hub's card: the hub id of the model.")
    ] = None,
    model: ModelName = "default",
    dtype: Dtype = "float32",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a direction or a plan in a form that others read: a GGUF control vector, a model folder, the hub."""
    if (direction is None) == (plan is None):
        raise InputError("expected --direction or --plan, one of both, to export")
    if (form is None) == (target is None):
        raise InputError("expected --format gguf, --format folder or --push owner/name, one of them")
    if target is not None:
        if direction is None:
            raise InputError("expected --direction to push to the hub, got a plan")
        held = find_direction(direction)
        guidance = None
        if coefficient is not None:
            guidance = Guidance(_layers(held, layer)[0], coefficient, unit)
        card = {"licence": licence, "base_model": base_model, "guidance": guidance}
        pushed = push(held, target, private=not public, filename=file, force=force, **card)
        _tell(vars(pushed), f"pushed {pushed.repository}@{pushed.revision[:12]}: {', '.join(pushed.files)}", as_json)
        return
    if destination is None:
        raise InputError("expected --out, a file or a folder to export to")
    if one_of("--format", form or "", FORMATS) == "gguf":
        if edit != "add" or everywhere:
            raise InputError("expected --edit add for a GGUF control vector, which can hold nothing else")
        source = load_plan(plan) if plan else _at(find_direction(direction or ""), layer)
        made = export_gguf(source, destination, coefficient=coefficient, unit=unit, force=force)
        _tell(vars(made), f"{made.path}: {made.words}", as_json)
        return
    check_folder(destination, force=force)
    if plan is not None and coefficient is not None:
        raise InputError("expected no --coefficient beside --plan, which has its own")
    held = load_plan(plan) if plan else find_direction(direction or "")
    if not isinstance(held, Plan) and one_of("--edit", edit, EDITS) == "add" and coefficient is None:
        raise InputError("expected --coefficient, how strongly the model is to be steered for good")
    loaded = open_model(model, dtype, device)
    if not isinstance(held, Plan):
        at = direction_at(held, layer, loaded)
        strength = 1.0 if coefficient is None else coefficient
        held = Plan(at.everywhere() if everywhere else at, EDITS[edit], coefficient=strength, unit=unit)
    say("writing the folder, then comparing it with the steered model")
    baked = bake(loaded, held, destination, force=force)
    _tell(vars(baked), f"{baked.folder}: {baked.words}", as_json)


def import_(
    source: Annotated[str, typer.Argument(help="A GGUF control vector, or owner/name[@revision] on the hub.")],
    destination: Annotated[Path, typer.Option("--out", help="File to write, ending in .safetensors.")],
    model: Annotated[
        str | None, typer.Option("--model", help="The model it is for: checks the fit, measures residual norms.")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, help="Number of layers, where neither file nor model says."),
    ] = None,
    file: Annotated[str, typer.Option("--file", help="Name of the file on the hub.")] = FILENAME,
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read a direction that others wrote, and save it as a direction file."""
    check_target(destination, force=force)
    if not Path(source).exists() and is_address(source):
        direction = load_direction_from_hub(source, file)
    else:
        loaded = None if model is None else open_model(model, dtype, device)
        direction = import_gguf(source, loaded, depth=depth)
    save_direction(direction, destination, force=force)
    rows = [
        {
            "site": str(site),
            "vector_norm": float(direction.vectors[site].norm()),
            "residual_norm": direction.norms[site],
        }
        for site in direction.sites
    ]
    if as_json:
        show_json({"file": str(destination), "method": direction.method, "sites": rows})
        return
    table = Table("site", "vector norm", "residual norm", box=None)
    for row in rows:
        table.add_row(str(row["site"]), f"{row['vector_norm']:.4g}", f"{row['residual_norm']:.4g}")
    out.print(table)
    say(f"{direction.method}; coefficient 1 --unit raw does what the file does; saved to {destination}")


def _at(direction: Direction, layer: list[str] | None) -> Direction:
    return direction.at(*_layers(direction, layer))


def _layers(direction: Direction, layer: list[str] | None) -> list[int]:
    if layer == ["all"]:
        return sorted({site.layer for site in direction.sites})
    return layers_in(",".join(layer), direction.origin.depth) if layer else [usual_layer(direction)]


def _tell(record: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        show_json({name: str(value) if isinstance(value, Path) else value for name, value in record.items()})
    else:
        say(words)
