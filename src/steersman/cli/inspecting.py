"""The command that looks at directions: inspect."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import say, show, show_json, show_table
from steersman.cli.options import AsJson, Device, Dtype, Force, Places, open_model
from steersman.cli.places import check_fit, check_writable, direction_named, sites_at
from steersman.direction import Direction
from steersman.errors import FileError, InputError
from steersman.files import Facts, facts_of
from steersman.inspection import (
    Comparison,
    Inspection,
    LensTokens,
    SiteFigures,
    compare,
    inspect_direction,
    lens_tokens,
)
from steersman.model.loaded import Model
from steersman.report.direction_plot import plot_directions
from steersman.where import Site

Files = Annotated[list[Path], typer.Argument(help="One direction file, or several to compare.")]
LensModel = Annotated[
    str | None,
    typer.Option("--model", help="default, a Hugging Face id, a folder or .gguf: show the tokens nearest to it."),
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw a picture, ending in .png or .svg.")]
Top = Annotated[int | None, typer.Option("--top", min=1, help="With --model: tokens each way; 10 if not given.")]
TOKENS = 10


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("inspect", epilog="Example: steersman inspect refusal.safetensors --plot refusal.png")(inspect)


def inspect(
    files: Files,
    model: LensModel = None,
    layer: Places = None,
    top: Top = None,
    plot: Plot = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show what a direction is made of: lengths, separation, stability, massive coordinates, cosines, tokens."""
    if top is not None and model is None:
        raise InputError("expected --model beside --top, whose tokens are the model's, got none")
    directions = _named(files)
    chosen = {name: sites_at(held, layer) if layer else held for name, held in directions.items()}
    found = {name: _inspected(held, chosen[name]) for name, held in directions.items()}
    facts = {name: facts_of(path) for name, path in zip(directions, files, strict=True)}
    together = compare(chosen) if len(chosen) > 1 else None
    if plot:
        _check_picture(plot, force)
    loaded = _fitting(model, dtype, device, directions) if model else None
    tokens = _tokens(loaded, chosen, layer, top or TOKENS) if loaded else {}
    if plot:
        plot_directions(chosen, plot, force=force)
    if as_json:
        known = {name: [each.plain() for each in held.ranges] for name, held in chosen.items()}
        show_json(_plain(found, facts, together, tokens, plot, known))
        return
    for name, inspection in found.items():
        _print_origin(name, inspection, facts[name])
        show_table(_table(inspection.sites))
        if chosen[name].ranges:
            show_table(_ranges(chosen[name]))
        if inspection.warning:
            say(f"warning: {name}: {inspection.warning}")
        for each in tokens.get(name, []):
            show(f"{each.site} writes      {_quoted(each.towards)}")
            show(f"{each.site} writes less {_quoted(each.away)}")
        show("")
    if together:
        show_table(_cosine_table(together))
    if plot:
        say(f"picture: {plot}")


def _named(files: Sequence[Path]) -> dict[str, Direction]:
    """Return the directions by their files' names; by their paths where two files are called the same."""
    stems = [path.stem for path in files]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in files]
    if len(set(names)) != len(names):
        raise InputError("expected every file once, got one twice")
    return {name: direction_named(path, "FILES") for name, path in zip(names, files, strict=True)}


def _check_picture(path: Path, force: bool) -> None:
    """Refuse a picture that could not be written, before a model is loaded."""
    if path.exists() and not force:
        raise FileError(f"{path} exists already; give another name, or --force to replace it")
    check_writable(path)


def _inspected(held: Direction, chosen: Direction) -> Inspection:
    """Return the figures of the chosen sites; the cosine to the next layer stays that of the whole direction."""
    rows = tuple(row for row in inspect_direction(held).sites if row.site in chosen.vectors)
    return replace(inspect_direction(chosen), sites=rows)


def _fitting(name: str, dtype: str, device: str, directions: Mapping[str, Direction]) -> Model:
    """Return the model, when every direction fits it."""
    model = open_model(name, dtype, device)
    for each, direction in directions.items():
        check_fit(direction, model, each)
    return model


def _tokens(
    model: Model, directions: Mapping[str, Direction], layers: list[str] | None, top: int
) -> dict[str, list[LensTokens]]:
    """Return the tokens of the sites asked for; of the usual layer where none was."""
    found: dict[str, list[LensTokens]] = {}
    for name, direction in directions.items():
        held = direction if layers else sites_at(direction, None)
        found[name] = lens_tokens(model, direction, held.sites, top)
    return found


def _print_origin(name: str, inspection: Inspection, facts: Facts) -> None:
    origin = inspection.origin
    seed = "no seed" if facts.seed is None else f"seed {facts.seed}"
    show(f"{name}: {inspection.method}, n = {origin.n}, read over {origin.span}, {seed}, steersman {facts.version}")
    show(f"  model {origin.model}, revision {origin.revision[:12] or '-'}, {origin.depth} layers, width {origin.width}")
    show(f"  data {origin.data[:12] or '-'}, file format {facts.format}, sha256 {facts.sha256[:12] or '-'}")


def _table(rows: Sequence[SiteFigures]) -> Table:
    heads = (
        "site",
        "vector\nnorm",
        "resid.\nnorm",
        "ratio",
        "held-out\nAUROC",
        "halves\ncosine",
        "votes",
        "expl.\nvar.",
    )
    table = Table(*heads, "mass.\nshare", "next\ncosine", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(
            str(row.site),
            f"{row.vector_norm:.3g}",
            f"{row.residual_norm:.3g}",
            f"{row.ratio:.3f}",
            *(_cell(value) for value in (row.separation, row.split_half_cosine, row.vote_share)),
            *(_cell(value) for value in (row.explained_variance, row.massive_share, row.next_cosine)),
        )
    return _right(table)


def _ranges(direction: Direction) -> Table:
    """Coefficients that a selection found, signed, a row for each range."""
    heads = ("range at", "unit", "edit", "span", "onset", "recommended", "alarm", "tried up to")
    table = Table(*heads, "found by", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for each in direction.ranges:
        sizes = (each.onset, each.recommended, each.alarm, each.tried)
        signed = ("-" if size is None else f"{each.sign * size:g}" for size in sizes)
        sites = ", ".join(map(str, (each.site, *each.beside)))
        table.add_row(sites, each.unit, Text(each.edit), each.span, *signed, Text(each.reason or "-"))
    for column in table.columns[4:8]:
        column.justify = "right"
    return table


def _cosine_table(together: Comparison) -> Table:
    """Cosines of every pair, by site."""
    pairs = [(i, j) for i in range(len(together.names)) for j in range(i)]
    table = Table("cosine", *map(str, together.by_site), box=None, pad_edge=False)
    if len(together.by_site) > 6:  # more sites than fit across: turned round
        table = Table(
            "site", *(f"{together.names[j]}\n{together.names[i]}" for i, j in pairs), box=None, pad_edge=False
        )
        for site, square in together.by_site.items():
            table.add_row(str(site), *(f"{square.values[i][j]:.3f}" for i, j in pairs))
        return _right(table)
    for i, j in pairs:
        values = (square.values[i][j] for square in together.by_site.values())
        table.add_row(Text(f"{together.names[j]} / {together.names[i]}"), *(f"{value:.3f}" for value in values))
    return _right(table)


def _right(table: Table) -> Table:
    """Return the table with all columns but the first set to the right, where numbers line up."""
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _quoted(tokens: Sequence[str]) -> str:
    return " ".join(repr(token) for token in tokens)


def _plain(
    found: Mapping[str, Inspection],
    facts: Mapping[str, Facts],
    together: Comparison | None,
    tokens: Mapping[str, Sequence[LensTokens]],
    plot: Path | None,
    ranges: Mapping[str, Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    """Return everything as plain data."""
    directions = {
        name: {
            "method": inspection.method,
            "origin": asdict(inspection.origin),
            "file": asdict(facts[name]),
            "sites": [asdict(row) | {"site": str(row.site), "ratio": row.ratio} for row in inspection.sites],
            "ranges": list(ranges[name]),
            "warning": inspection.warning,
            "tokens": [
                {"site": str(each.site), "towards": list(each.towards), "away": list(each.away)}
                for each in tokens.get(name, [])
            ],
        }
        for name, inspection in found.items()
    }
    cosines = {str(site): [list(row) for row in square.values] for site, square in _squares(together)}
    return {"directions": directions, "names": list(found), "cosines": cosines, "plot": str(plot) if plot else None}


def _squares(together: Comparison | None) -> list[tuple[Site, Any]]:
    return list(together.by_site.items()) if together else []
