"""The command that puts several directions together: compose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import say, show_json, show_table
from steersman.cli.generating import SavePlan
from steersman.cli.options import AsJson, Force, SpanText, UnitName, one_of
from steersman.cli.places import check_writable, direction_named, one_site_at, sites_at, usual_layer
from steersman.cli.planning import EDITS, warned
from steersman.composition import (
    INTERFERENCE,
    WAYS,
    Composition,
    check_alike,
    combined,
    compose,
    inject,
    sites_in_common,
)
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.files import check_target, save_direction, save_plan
from steersman.methods import massive_warning
from steersman.plan import UNITS, Plan
from steersman.where import Site, Span

EXAMPLE = (
    "Example: steersman compose --direction kind=kind.safetensors --direction brave=brave.safetensors --how sum "
    "--weight kind=2 --scale 0.2 --save-plan both.safetensors"
)
SIMULTANEOUS = "simultaneous"
SHOWN = 3
"""Sites whose tables a terminal shows; `--json` has all."""

DirectionNames = Annotated[
    list[str],
    typer.Option(
        "--direction",
        help="NAME=FILE, or a file or hub repository named by itself; once for each direction, in the order in which "
        "gram-schmidt goes through them.",
    ),
]
How = Annotated[
    str,
    typer.Option(
        "--how",
        help="One vector: sum, mean, gram-schmidt (the first direction keeps all of itself), symmetric (no order), or "
        "solve (reach the targets, by least squares); or simultaneous: each at its own layer.",
    ),
]
Weights = Annotated[
    list[str] | None, typer.Option("--weight", help="NAME=2, once for each; 1 if not given. Not of solve.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="Of solve. NAME=0.3, the effect along that direction, in the unit; 0, not to be moved, if not given.",
    ),
]
Places = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="Layers or sites that all directions hold: 14, 0.4, 8:16, all. Of simultaneous one of them: PLACE for "
        "all, and NAME=PLACE for one direction.",
    ),
]
Scale = Annotated[
    float | None,
    typer.Option("--scale", help=f"Times all weights or targets; {EDITS['add']:g} if not given, of solve 1."),
]
Most = Annotated[
    float | None,
    typer.Option("--most", help="Of solve: the greatest length of the vector, as a fraction of the residual norm."),
]
Threshold = Annotated[
    float, typer.Option("--threshold", help="Cosine, and share of an effect, from which on interference is warned of.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File to write the one vector to, as a direction, ending in .safetensors."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compose", epilog=EXAMPLE)(compose_directions)


def compose_directions(
    direction: DirectionNames,
    how: How = "sum",
    weight: Weights = None,
    target: Targets = None,
    layer: Places = None,
    scale: Scale = None,
    unit: UnitName = None,
    span: SpanText = None,
    most: Most = None,
    threshold: Threshold = INTERFERENCE,
    destination: Out = None,
    save: SavePlan = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Put several directions together, as one vector or each at its own layer, and say which of them will fight."""
    one_of("--how", how, (*WAYS, SIMULTANEOUS))
    if (how == "solve") != bool(target) or (how == "solve" and weight):
        raise InputError("expected --target NAME=0.3 with --how solve and --weight with any other, got them otherwise")
    if most is not None and how != "solve":
        raise InputError(f"expected --most with --how solve, got it with --how {how}")
    if how == SIMULTANEOUS and destination is not None:
        raise InputError(
            "expected --out for one vector, got it with --how simultaneous; --save-plan FILE holds several"
        )
    numbers = {"weights": _assigned(weight, "--weight")}
    if how == "solve":
        numbers = {"targets": _assigned(target, "--target")}
    options: dict[str, Any] = {
        **numbers,
        "scale": (1.0 if how == "solve" else EDITS["add"]) if scale is None else scale,
        "unit": one_of("--unit", unit or "norm", UNITS),
    }
    seen: dict[str, Any] = {"span": Span.parse(span or "all"), "threshold": threshold}
    held = directions_named(direction)
    check_alike(held)
    whole: Direction | None = None
    if how == SIMULTANEOUS:
        found = [inject(held, at=_own_places(held, layer), **options, **seen)]
    else:
        options |= {"most": most} if how == "solve" else {}
        sites = _common_places(held, layer)
        found = [compose(held, how, at=site, **options, **seen) for site in sites]
        whole = combined({name: each.at(*sites) for name, each in held.items()}, how, **options)
    plan = sum((each.plan for each in found), Plan())
    _check_outputs(destination, save, force)
    notes, warnings = _notes(held, found, save), _warnings(found, plan)
    written = _written(plan, save, whole, destination, force)
    if as_json:
        plain = [each.plain() for each in found]
        show_json({"compositions": plain, "notes": notes, "warnings": warnings, **written})
        return
    for each in found[:SHOWN]:
        present(each)
    if len(found) > SHOWN:
        say(f"{len(found) - SHOWN} more sites are not shown; --json has them")
    for what, path in written.items():
        say(f"{what}: {path}")


def directions_named(texts: Sequence[str]) -> dict[str, Direction]:
    """Return the directions by name, in the order typed.

    Args:
        texts: NAME=FILE, or a file or hub repository whose own name is taken.

    Raises:
        InputError: for fewer than two, a name or file that is missing, or a name given twice.
        FileError: for a file that cannot be read.
    """
    if len(texts) < 2:
        raise InputError(f"expected --direction at least twice, for directions to put together, got {len(texts)}")
    paths: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or Path(text).expanduser().is_file():
            name, path = Path(text).name.removesuffix(".safetensors"), text
        if not name.strip() or not path:
            raise InputError(f"expected --direction NAME=FILE, got {text!r}")
        if name in paths:
            raise InputError(f"expected directions of different names, got {name!r} twice; give them as NAME=FILE")
        paths[name] = path
    return {name: direction_named(path) for name, path in paths.items()}


def present(found: Composition) -> None:
    """Print the cosines, and for each direction what was asked for and what it is predicted to get."""
    names = [each.name for each in found.members]
    cosines = Table(title=Text("Cosines"), box=None)
    for head in ("", *names):
        cosines.add_column(Text(head), justify="right")
    for name, row in zip(names, found.cosines.tolist(), strict=True):
        cosines.add_row(Text(name), *("-" if value != value else f"{value:+.2f}" for value in row))
    show_table(cosines)
    pushes = ", ".join(f"{push:.3g} at {site}" for site, push in found.pushes.items())
    missed = f"; residual of the targets: {found.residual:.2g} {found.unit}" if found.way == "solve" else ""
    table = Table(
        title=Text(f"{found.way}, {found.unit} units"),
        caption=Text(f"added, as a fraction of the residual norm: {pushes}{missed}"),
        box=None,
    )
    for head in ("direction", "site", "asked for", "coefficient", "predicted effect", "outcome"):
        table.add_column(head)
    for each in found.members:
        numbers = (f"{value:+.3g}" for value in (each.asked, each.coefficient, each.effect))
        table.add_row(Text(each.name), str(each.site), *numbers, each.outcome)
    show_table(table)


def _assigned(texts: Sequence[str] | None, option: str) -> dict[str, float]:
    """Return NAME=NUMBER options as a mapping."""
    found: dict[str, float] = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = None
        if not name or value is None:
            raise InputError(f"expected {option} NAME=NUMBER, such as {option} kind=0.3, got {text!r}")
        if name in found:
            raise InputError(f"expected one {option} for {name!r}, got two")
        found[name] = value
    return found


def _common_places(held: Mapping[str, Direction], texts: list[str] | None) -> list[Site]:
    """Return the sites of one vector: those that --layer names, else the usual layer among those in common."""
    if named := [text for text in texts or () if "=" in text]:
        raise InputError(f"expected --layer {named[0]} with --how simultaneous; one vector takes --layer PLACE for all")
    shared = sites_in_common(held)
    if not texts:
        first = next(iter(held.values())).at(*shared)
        return first.at(usual_layer(first)).sites
    asked = [set(_blaming(name, sites_at, each, texts).sites) for name, each in held.items()]
    sites = [site for site in shared if all(site in sites for sites in asked)]
    if not sites:
        raise InputError(f"expected a site that all directions hold at --layer {','.join(texts)}, got none")
    return sites


def _own_places(held: Mapping[str, Direction], texts: list[str] | None) -> dict[str, Site]:
    """Return each direction's one site: --layer NAME=PLACE, else --layer PLACE, else its own usual one."""
    common: list[str] | None = None
    named: dict[str, str] = {}
    for text in texts or ():
        name, equals, place = text.rpartition("=")
        if (equals and (name not in held or name in named)) or (not equals and common):
            raise InputError(
                f"expected one --layer PLACE for all, and one --layer NAME=PLACE for each of {', '.join(held)}, "
                f"got {text!r}"
            )
        if equals:
            named[name] = place
        else:
            common = [place]
    found: dict[str, Site] = {}
    for name, each in held.items():
        where = [named[name]] if name in named else common
        found[name] = _blaming(name, one_site_at, each, where, f"--layer {name}=PLACE").sites[0]
    return found


def _blaming(name: str, find: Any, *arguments: Any) -> Direction:
    """Return what is found in a direction; an error says which direction it is."""
    try:
        return find(*arguments)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _check_outputs(destination: Path | None, save: Path | None, force: bool) -> None:
    if destination is not None and save is not None and _meant(destination) == _meant(save):
        raise InputError(f"expected different files for --out and --save-plan, got {str(save)!r} for both")
    for path in (destination, save):
        if path is not None:
            check_target(path, force=force)
            check_writable(path)


def _meant(path: Path) -> Path:
    """Return the one path of a file, however it was written."""
    return path.expanduser().resolve()


def _notes(held: Mapping[str, Direction], found: Sequence[Composition], save: Path | None) -> list[str]:
    """Return what there is to know about the directions and the reckoning, and say it on stderr."""
    notes: list[str] = []
    if unknown := [name for name, each in held.items() if not each.origin.revision]:
        notes.append(
            f"nothing says on which weights {', '.join(unknown)} was fitted; only width and depth are compared"
        )
    for name, each in held.items():
        used = {member.site for composition in found for member in composition.members if member.name == name}
        if warning := massive_warning(each.at(*sorted(used))):
            notes.append(f"{name}: {warning}; extract --mask-massive 2 does")
    if save is not None and len(found) > 1:
        notes.append(f"the plan adds at {len(found)} sites; predictions and lengths count each site by itself")
    for sentence in notes:
        say(f"note: {sentence}")
    return notes


def _warnings(found: Sequence[Composition], plan: Plan) -> list[str]:
    """Return what there is to warn of, and say it on stderr."""
    warnings = [sentence for each in found for sentence in each.warnings()]
    for sentence in warnings:
        say(f"warning: {sentence}")
    return warnings + warned(plan)


def _written(
    plan: Plan, save: Path | None, whole: Direction | None, destination: Path | None, force: bool
) -> dict[str, str]:
    """Write what was asked for and return the paths by what they hold."""
    paths: dict[str, str] = {}
    if destination is not None and whole is not None:
        paths["direction"] = str(save_direction(whole, destination, force=force))
    if save is not None:
        paths["plan"] = str(save_plan(plan, save, force=force))
    return paths
