"""The command that chooses where and how strongly: select."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from steersman.cli.console import Bars, say, show, show_json, show_table
from steersman.cli.options import (
    AsJson,
    Device,
    Dtype,
    Force,
    ModelName,
    Places,
    SpanText,
    UnitName,
    one_of,
    open_model,
)
from steersman.cli.places import check_fit, check_writable, direction_named, sites_at
from steersman.direction import Direction
from steersman.edits import Ablate, Add, AddKeepingNorm, Edit
from steersman.errors import FileError, InputError
from steersman.files import check_target, facts_of, save_direction
from steersman.maths.statistics import Estimate
from steersman.model.loaded import Model
from steersman.objectives import OBJECTIVES, Measure, Objective, cost_measures, objective_of
from steersman.plan import Plan
from steersman.prompts import content_hash
from steersman.range import Range
from steersman.report.selection_page import write_selection
from steersman.runs import open_run
from steersman.samples import prompt_items
from steersman.selected import Selection
from steersman.selecting import candidates_of, check_tasks
from steersman.selecting import select as choose
from steersman.selection.budget import Budget
from steersman.selection.coefficient import FEWEST, MOST, PROMPTS
from steersman.selection.rules import RULES, rule_named
from steersman.tasks.named import TASKS, TaskOptions, tasks_named
from steersman.where import Site, Span

EXAMPLE = "Example: steersman select --direction refusal.safetensors --budget kl=0.5 --save refusal-ranged.safetensors"

EDITS: dict[str, type[Edit]] = {"add": Add, "add_keeping_norm": AddKeepingNorm, "ablate": Ablate}
"""The edits that need no settings."""

SIGNS = {"+": (1,), "-": (-1,), "both": (1, -1)}

DirectionName = Annotated[
    str, typer.Option("--direction", help="A direction file, or owner/name[@revision] on the Hugging Face hub.")
]
BudgetText = Annotated[
    str,
    typer.Option(
        "--budget", help="The most it may cost, such as kl=0.5,cross-entropy=0.2,knowledge=2,over-refusal=0.05."
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        help=f"What is to be gained: {', '.join(OBJECTIVES)}, or a task as of evaluate: TASK or NAME=SOURCE.",
    ),
]
Mode = Annotated[str, typer.Option("--mode", help=f"What says where coherence ends: {', '.join(RULES)}.")]
Sign = Annotated[str, typer.Option("--sign", help="+, - or both: which side of the direction.")]
Edits = Annotated[
    list[str] | None, typer.Option("--edit", help=f"One of {', '.join(EDITS)}; several times; add if not given.")
]
Concept = Annotated[
    str | None,
    typer.Option(
        "--concept", help="What the positive sign is to bring, in words, such as 'wedding ceremonies'; not needed."
    ),
]
Opposite = Annotated[str | None, typer.Option("--opposite", help="What the negative sign is to bring, in words.")]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", help="Prompts of the search, one a line or JSONL, 1 to 5 of them.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=2, help="At most so many items of every measure.")]
Completions = Annotated[int, typer.Option("--completions", help="Of each search, the unsteered ones among them.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the bootstrap and of the random control.")]
Folder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for selection.html, selection.json and the figures; resumed if it exists."),
]
SaveTo = Annotated[
    Path | None, typer.Option("--save", help="File to write the direction to, with the ranges that were found.")
]


@dataclass(frozen=True)
class _Asked:
    """What is to be selected, checked."""

    held: Direction
    places: tuple[Site, ...]
    aims: Mapping[int, Objective | str]
    limits: Budget
    edits: tuple[Edit, ...]
    mode: str
    words_of: Mapping[int, str | None]
    texts: tuple[str, ...]
    span: str
    unit: str
    completions: int
    limit: int | None
    seed: int

    def settings(self, model: Model) -> dict[str, Any]:
        """Return everything that decides the results, as plain data."""
        aims = [
            aim if isinstance(aim, str) else {"name": aim.name, "items": _hashed(aim.measure)}
            for aim in self.aims.values()
        ]
        # In both units: what steers, and the vectors' own lengths, which completions are read by.
        digests = [Plan(self.held.at(site), unit=unit).digest() for site in self.places for unit in ("norm", "raw")]
        return {
            "direction": digests,
            "sites": [str(site) for site in self.places],
            "signs": list(self.aims),
            "targets": aims,
            "budget": dict(self.limits.limits),
            "rule": self.mode,
            "edits": [each.name for each in self.edits],
            "concepts": list(self.words_of.values()),
            "prompts": list(self.texts),
            "span": self.span,
            "unit": self.unit,
            "completions": self.completions,
            "limit": self.limit,
            "seed": self.seed,
            "model": model.name,
            "model_revision": model.revision,
            "dtype": str(model.dtype).removeprefix("torch."),
        }


def _hashed(measure: Measure) -> list[str]:
    return [content_hash(task.items) for task in (measure.validation, measure.test)]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("select", epilog=EXAMPLE)(select)


def select(
    direction: DirectionName,
    budget: BudgetText = "kl=0.5",
    target: Target = "expression",
    mode: Mode = "default",
    sign: Sign = "+",
    layer: Places = None,
    edit: Edits = None,
    concept: Concept = None,
    opposite: Opposite = None,
    prompts: Prompts = None,
    span: SpanText = None,
    unit: UnitName = None,
    limit: Limit = None,
    completions: Completions = MOST,
    seed: Seed = 0,
    folder: Folder = None,
    save: SaveTo = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Choose site, edit and coefficient under a budget: on validation items, confirmed on test items."""
    signs = SIGNS[one_of("--sign", sign, SIGNS)]
    one_of("--mode", mode, RULES)
    edits = [EDITS[one_of("--edit", name, EDITS)]() for name in edit or ["add"]]
    if len(signs) > 1 and any(isinstance(each, Ablate) for each in edits):
        raise InputError(
            "expected one --sign with --edit ablate, got both: its fractions are the same for either; - is the one it "
            "serves, since it takes the positive side out"
        )
    how = one_of("--unit", unit or "norm", ("norm", "raw"))
    where = str(Span.parse(span or "all"))
    limits = Budget.parse(budget)
    texts = _prompts(prompts)
    if completions < (FEWEST + 1) * len(texts):
        raise InputError(
            f"expected at least {(FEWEST + 1) * len(texts)} completions for {len(texts)} prompts, got {completions}"
        )
    held = direction_named(direction)
    places = (sites_at(held, layer) if layer else candidates_of(held)).sites
    words_of = {1: concept, -1: opposite}
    aims = {each: _aim(target, each, limit, seed, words_of[each]) for each in signs}
    for aim in aims.values():
        if isinstance(aim, Objective):
            check_tasks((aim.measure, *cost_measures(limits, limit)))
    _check_outputs(folder, save, force)
    loaded = open_model(model, dtype, device)
    check_fit(held, loaded)
    asked = _Asked(
        held, tuple(places), aims, limits, tuple(edits), mode, words_of, texts, where, how, completions, limit, seed
    )
    found = _found(asked, loaded, folder, force)
    written = _written(held, found, direction, folder, save, force)
    if as_json:
        show_json({"selections": [each.plain() for each in found], **written})
        return
    for each in found:
        present(each)
    for what, path in written.items():
        say(f"{what}: {path}")


def _found(asked: _Asked, model: Model, folder: Path | None, force: bool) -> list[Selection]:
    """Return a selection for each sign; in a folder what is finished is kept, and found again."""
    found: list[Selection] = []
    with ExitStack() as stack:
        store = None
        if folder is not None:
            store = open_run(folder, asked.settings(model), force=force)
            stack.callback(store.close)
        for sign, aim in asked.aims.items():
            words = "" if len(asked.aims) == 1 else " +" if sign > 0 else " -"
            with Bars() as bars:
                found.append(
                    choose(
                        model,
                        asked.held,
                        budget=asked.limits,
                        target=aim,
                        sites=asked.places,
                        edits=asked.edits,
                        sign=sign,
                        rule=rule_named(asked.mode),
                        concept=asked.words_of[sign],
                        prompts=asked.texts,
                        span=asked.span,
                        unit=asked.unit,
                        most=asked.completions,
                        limit=asked.limit,
                        seed=asked.seed,
                        store=store,
                        notify=lambda stage, done, total, bars=bars, words=words: bars(stage + words, done, total),
                    )
                )
    return found


def present(found: Selection) -> None:
    """Print what was considered, what the test items say, the completions at the choice, and the reason."""
    table = Table(title=Text(f"{found.objective}, sign {found.sign:+d}, on validation items"), box=None)
    unit = found.considered[0].choice.unit
    heads = (
        "site",
        "edit",
        f"onset ({unit})",
        "alarm",
        "taken",
        f"effect ({found.unit})",
        *found.budget.limits,
        "dropped",
    )
    for head in heads:
        table.add_column(Text(head))
    for each in found.considered:
        pick = each.choice.pick
        numbers = (pick.onset, pick.alarm, each.coefficient, each.effect)
        costs = (each.costs.get(name) for name in found.budget.limits)
        cells = ["-" if value is None else f"{value:.3g}" for value in (*numbers, *costs)]
        table.add_row(str(each.site), each.edit, *cells, Text("; ".join(each.dropped)))
    show_table(table)
    if found.points:
        show_table(_points(found))
    if found.chosen is not None:
        shown = found.chosen.choice.curve.nearest(found.chosen.coefficient or 0.0)
        for prompt, text in zip(found.chosen.choice.prompts, shown.completions, strict=True):
            show(f"at {shown.coefficient:g}, {prompt} -> {' '.join(text.split())}")
    show(found.reason)


def _points(found: Selection) -> Table:
    table = Table(title=Text(f"{found.best.edit} at {found.best.site}, on test items, 95 % intervals"), box=None)
    for head in ("strength", "coefficient", f"effect ({found.unit})", "n", *found.budget.limits, "beyond the budget"):
        table.add_column(Text(head))
    for point in found.points:
        costs = [_words(point.costs[name]) for name in found.budget.limits]
        cells = (point.label, f"{point.coefficient:g}", _words(point.effect), str(point.effect.n), *costs)
        table.add_row(*cells, Text("; ".join(point.broken)))
    return table


def _words(value: Estimate) -> Text:
    return Text(f"{value.value:+.3g} [{value.low:+.3g}, {value.high:+.3g}]")


def _prompts(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return PROMPTS
    return tuple(item.prompt for item in prompt_items(path, split=None))


def _aim(target: str, sign: int, limit: int | None, seed: int, concept: str | None) -> Objective | str:
    """Return the objective of a task, or a named one by its name: some need the direction."""
    if target in OBJECTIVES and not (target == "contrast" and not concept):
        return target
    if target == "contrast":
        raise InputError("expected --concept TEXT (for the sign -, --opposite TEXT) beside --target contrast, got none")
    name = target.partition("=")[0]
    if name not in TASKS:
        raise InputError(
            f"expected a --target among {', '.join(OBJECTIVES)}, or a task among {', '.join(TASKS)}, got {target!r}"
        )
    (task,) = tasks_named([target], options=TaskOptions())
    return objective_of(task, sign=sign, limit=limit, seed=seed)


def _check_outputs(folder: Path | None, save: Path | None, force: bool) -> None:
    if save is not None:
        check_target(save, force=force)
        check_writable(save)
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise FileError(f"expected a folder for --out, got the file {str(folder)!r}")
    path = folder / "selection.json"
    # A selection of the same settings is continued, which they say; what else stands there is not ours.
    if path.exists() and not (folder / "config.yaml").exists() and not force:
        raise FileError(f"{path} exists; give another --out, or --force to replace it")
    check_writable(path)


def _written(
    held: Direction, found: list[Selection], name: str, folder: Path | None, save: Path | None, force: bool
) -> dict[str, str]:
    """Write what was asked for and return the paths by what they hold."""
    paths: dict[str, str] = {}
    if folder is not None:
        record = {"selections": [each.plain() for each in found]}
        paths["report"] = str(write_selection(folder, record, title=Path(name).name))
    if save is not None:
        # Those of the chosen places first: where nobody says where to act, the first is taken.
        ranges = sorted(((own, each) for each in found for own in each.ranges), key=lambda pair: not _is_chosen(*pair))
        ranged = held.with_ranges(*(own for own, _ in ranges))
        source = Path(name).expanduser()
        # The fit's seed is the file's, not the direction's: it would be lost.
        seed = facts_of(source, "steersman direction").seed if source.is_file() else None
        paths["direction"] = str(save_direction(ranged, save, force=force, seed=seed))
    return paths


def _is_chosen(own: Range, found: Selection) -> bool:
    return found.chosen is not None and (own.site, own.edit) == (found.chosen.site, found.chosen.edit)
