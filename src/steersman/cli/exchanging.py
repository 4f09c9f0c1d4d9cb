"""Commands that give to others and take from them: export, import."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from steersman.cli.console import say, show_json, show_table
from steersman.cli.options import (
    AsJson,
    Device,
    DirectionName,
    Dtype,
    Force,
    ModelName,
    Places,
    PlanFile,
    UnitName,
    one_of,
    open_model,
)
from steersman.cli.places import check_fit, check_writable, is_artifact, one_site_at, sites_at
from steersman.cli.planning import source_named, warned
from steersman.direction import Direction
from steersman.edits import Ablate, Add
from steersman.errors import InputError
from steersman.exchange.baking import bake, check_folder
from steersman.exchange.card import Guidance
from steersman.exchange.gguf import export_gguf, import_gguf
from steersman.exchange.hub import FILENAME, is_address, load_direction_from_hub, push
from steersman.files import check_target, save_direction
from steersman.plan import Plan

FORMATS = ("gguf", "folder")
EDITS = {"add": Add(), "ablate": Ablate()}
"""That a model's weights can hold."""
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
    direction: DirectionName = None,
    plan: PlanFile = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="gguf: a control vector for llama.cpp; folder: a model with the plan in it."),
    ] = None,
    destination: Annotated[Path | None, typer.Option("--out", help="The .gguf file, or the new folder.")] = None,
    coefficient: Coefficient = None,
    unit: UnitName = None,
    layer: Places = None,
    edit: Annotated[str | None, typer.Option("--edit", help="Of a folder: add (if not given) or ablate.")] = None,
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
    if target is not None and plan is not None:
        raise InputError("expected --direction to push to the hub, got a plan")
    if target is None and destination is None:
        raise InputError("expected --out, a file or a folder to export to")
    if form is not None:
        one_of("--format", form, FORMATS)
    options = {"coefficient": coefficient, "unit": unit, "layer": layer, "edit": edit, "everywhere": everywhere or None}
    _check_edit(form, edit, everywhere)
    if form == "folder" and destination is not None:
        check_folder(destination, force=force)
    held = source_named(direction, plan, options)
    check_writable(destination)
    if isinstance(held, Direction) and target is not None:
        guidance = None
        if coefficient is not None:
            guidance = Guidance(sites_at(held, layer).sites[0].layer, coefficient, unit or "norm")
        card = {"licence": licence, "base_model": base_model, "guidance": guidance}
        pushed = push(held, target, private=not public, filename=file, force=force, **card)
        _tell(vars(pushed), f"pushed {pushed.repository}@{pushed.revision[:12]}: {', '.join(pushed.files)}", as_json)
    elif form == "gguf" and destination is not None:
        source = sites_at(held, layer) if isinstance(held, Direction) else held
        # No coefficient is an error of the export's; 0 is nothing to warn of.
        warned(source if isinstance(source, Plan) else Plan(source, coefficient=coefficient or 0, unit=unit or "norm"))
        made = export_gguf(source, destination, coefficient=coefficient, unit=unit or "norm", force=force)
        _tell(vars(made), f"{made.path}: {made.words}", as_json)
    elif destination is not None:
        made = _plan(held, coefficient, unit, layer, edit, everywhere) if isinstance(held, Direction) else held
        warned(made)
        loaded = open_model(model, dtype, device)
        if isinstance(held, Direction):
            check_fit(held, loaded)
        say("writing the folder, then comparing it with the steered model")
        baked = bake(loaded, made, destination, force=force)
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
    if is_artifact(Path(source).expanduser(), "steersman direction"):
        raise InputError(f"expected a GGUF control vector, got {source!r}, a direction file already: use it as it is")
    check_writable(destination)
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
    show_table(table)
    say(f"{direction.method}; coefficient 1 --unit raw does what the file does; saved to {destination}")


def _check_edit(form: str | None, edit: str | None, everywhere: bool) -> None:
    """Refuse an edit that the form cannot hold, and --everywhere of anything but an ablation."""
    if edit is not None:
        one_of("--edit", edit, EDITS)
    if form == "gguf" and edit not in (None, "add"):
        raise InputError("expected --edit add for a GGUF control vector, which can hold nothing else")
    if form == "gguf" and everywhere:
        raise InputError("expected no --everywhere for a GGUF control vector, which is added at the layers of --layer")
    if everywhere and edit != "ablate":
        raise InputError(f"expected --everywhere with --edit ablate, got it with --edit {edit or 'add'}")


def _plan(
    held: Direction,
    coefficient: float | None,
    unit: str | None,
    layer: list[str] | None,
    edit: str | None,
    everywhere: bool,
) -> Plan:
    """Return the plan that is to be written into the weights."""
    if edit != "ablate" and coefficient is None:
        raise InputError("expected --coefficient, how strongly the model is to be steered for good")
    at = one_site_at(held, layer, "--layer").everywhere() if everywhere else sites_at(held, layer)
    strength = 1.0 if coefficient is None else coefficient
    return Plan(at, EDITS[edit or "add"], coefficient=strength, unit=unit or "norm")


def _tell(record: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        show_json({name: str(value) if isinstance(value, Path) else value for name, value in record.items()})
    else:
        say(words)
