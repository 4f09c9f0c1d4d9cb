"""The command on ready directions: list those that fit a model, make them, prove them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import Bars, say, show_json, show_table
from steersman.cli.options import AsJson, Device, Dtype, Force, ModelName, open_model
from steersman.cli.places import check_writable
from steersman.errors import InputError
from steersman.files import save_direction
from steersman.maths.statistics import Estimate
from steersman.model.loaded import Model
from steersman.ready import Proof, Ready, load, make, names, prove, unfit
from steersman.selection.budget import Budget

EXAMPLE = "Example: steersman ready --prove --only cheerful"

Making = Annotated[bool, typer.Option("--make", help="Make them for the model: fit, select place and range, save.")]
Proving = Annotated[
    bool, typer.Option("--prove", help="Measure what they do on held-out prompts, beside a random direction.")
]
Only = Annotated[list[str] | None, typer.Option("--only", help="Of these names alone; several times.")]
Into = Annotated[
    Path | None,
    typer.Option("--out", help="With --make: folder for the files. A file that stands there is kept."),
]
From = Annotated[
    Path | None, typer.Option("--directions", help="Folder of the files, as --make writes them; those of steersman.")
]
BudgetText = Annotated[
    str | None, typer.Option("--budget", help="With --make: the most it may cost; each one's own if not given.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=2, help="At most so many prompts of every measure.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("ready", epilog=EXAMPLE)(ready)


def ready(
    making: Making = False,
    proving: Proving = False,
    only: Only = None,
    out: Into = None,
    directions: From = None,
    budget: BudgetText = None,
    limit: Limit = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """List the ready directions of a model; make them for another one; prove what they do."""
    if making != (out is not None):
        raise InputError("expected --make and --out FOLDER together, got one of them")
    if making and (proving or directions):
        raise InputError("expected --make without --prove and --directions; prove what was made in a second command")
    if unknown := [name for name in only or [] if name not in names()]:
        raise InputError(f"expected --only among {', '.join(names())}, got {unknown[0]!r}")
    limits = None if budget is None else Budget.parse(budget)
    if out is not None:
        check_writable(out / "any.safetensors")
    loaded = open_model(model, dtype, device)
    if out is not None:
        _make(loaded, only or names(), out, limits, limit, force)
        directions = out
    found = [each for each in load(loaded, directions) if each.name in (only or names())]
    if not found:
        why = "" if directions else unfit(loaded)
        raise InputError(why or f"expected ready directions of {loaded.name} in {str(directions or '')!r}, got none")
    if proving:
        _show_proofs([_proof(loaded, each, limit) for each in found], as_json)
    else:
        _show(found, as_json)


def _make(model: Model, wanted: list[str], out: Path, budget: Budget | None, limit: int | None, force: bool) -> None:
    for name in wanted:
        path = out / f"{name}.safetensors"
        if path.exists() and not force:
            say(f"{path} stands already and is kept; --force makes it anew")
            continue
        try:
            with Bars() as bars:
                made = make(model, name, budget=budget, limit=limit, notify=bars)
        except InputError as error:
            say(f"{name}: {error}")
            continue
        out.mkdir(parents=True, exist_ok=True)
        say(f"{name}: {save_direction(made.held, path, force=force)}")


def _proof(model: Model, ready: Ready, limit: int | None) -> Proof:
    with Bars() as bars:
        return prove(model, ready, limit=limit, notify=lambda done, total: bars(f"prove {ready.name}", done, total))


def _show(found: list[Ready], as_json: bool) -> None:
    if as_json:
        show_json(
            [
                {
                    "name": each.name,
                    "up": each.up,
                    "down": each.down,
                    "site": str(each.site),
                    "sites": [str(site) for site in each.held.sites],
                    "span": each.span,
                    "slider": vars(each.slider),
                    "ranges": [own.plain() for own in each.direction.ranges],
                }
                for each in found
            ]
        )
        return
    table = Table("name", "up", "down", "site", "recommended (norm)", "coherent (norm)", box=None)
    for each in found:
        signs = [own.coefficient for sign in (1, -1) if (own := each.range(sign)) and own.coefficient is not None]
        slider = each.slider
        cells = (str(each.site), ", ".join(f"{value:+g}" for value in signs), f"{slider.low:+g} to {slider.high:+g}")
        table.add_row(*(Text(cell) for cell in (each.name, each.up, each.down, *cells)))
    show_table(table)


def _show_proofs(proofs: list[Proof], as_json: bool) -> None:
    if as_json:
        show_json([each.plain() for each in proofs])
        return
    table = Table(title=Text("held-out prompts, changes to the unsteered model, 95 % intervals"), box=None)
    for head in (
        "name",
        "coefficient",
        "effect",
        "random direction",
        "n",
        "log-probability (nats)",
        "repetition",
        "shown",
        "unit of the effect (unsteered)",
    ):
        table.add_column(Text(head))
    for proof in proofs:
        for side in proof.sides:
            cells = (
                proof.name,
                f"{side.coefficient:+g}",
                _words(side.effect),
                _words(side.random),
                str(side.effect.n),
                f"{side.logprob.value:+.2f} to {side.least:.2f}",
                f"{side.repetition.value:+.3f}",
                "yes" if side.shown else "no",
                f"{proof.unit} ({proof.unsteered:.3g})",
            )
            table.add_row(*map(Text, cells))
    show_table(table)


def _words(value: Estimate) -> str:
    return f"{value.value:+.3g} [{value.low:+.3g}, {value.high:+.3g}]"
