"""What is reported: every setting that was chosen, its controls, and the unsteered model, on test items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from steersman.arms import random_plan
from steersman.composition import Composition, inject
from steersman.direction import Direction
from steersman.studies.behaviours.combining import Combined, Pattern
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.grid import UNSTEERED, Chosen, single
from steersman.studies.behaviours.measuring import Panel
from steersman.studies.desk import Desk
from steersman.summary import Measured, with_pooled
from steersman.tasks import Setting, Task


@dataclass(frozen=True)
class Candidate:
    """One setting that is reported.

    Args:
        name: as in the record and its figures.
        kind: one of `config.KINDS`.
        settings: what the model is put under; several seeds of a random control.
        sign: what was asked: 1 more, -1 less, 0 mixed or nothing.
        way: of one vector.
        weighted: of several directions.
        scale: of several directions.
        composition: what was put together; `None` where nothing was.
    """

    name: str
    kind: str
    settings: tuple[Setting, ...]
    sign: int = 0
    way: str | None = None
    weighted: bool | None = None
    scale: float | None = None
    composition: Composition | None = None


@dataclass(frozen=True)
class Tested:
    """A candidate's outcomes on test items.

    Args:
        candidate: what was measured.
        rows: by task; of several seeds, their mean item by item.
        measured: all of them, seed by seed.
    """

    candidate: Candidate
    rows: Mapping[str, Measured]
    measured: tuple[Measured, ...]


def single_candidates(
    directions: Mapping[str, Direction], points: Mapping[tuple[str, int], Chosen], threshold: float
) -> list[Candidate]:
    """Return every behaviour by itself at its own points, more and less of it.

    Args:
        directions: by behaviour.
        points: by behaviour and sign.
        threshold: of the composition's reports.
    """
    found: list[Candidate] = []
    for (name, sign), point in points.items():
        setting = single(directions[name], name, point.layer, point.coefficient)
        alone = inject({name: directions[name]}, at=point.layer, weights={name: point.coefficient}, threshold=threshold)
        label = f"{name} ({'+' if sign > 0 else '-'})"
        found.append(Candidate(label, "single", (setting,), sign, scale=1.0, composition=alone))
    return found


def combined_candidates(combined: Sequence[Combined]) -> list[Candidate]:
    """Return the combinations at their chosen scales."""
    return [
        Candidate(
            each.name,
            each.arrangement.kind,
            (each.setting,),
            each.pattern.sign,
            each.arrangement.way,
            each.arrangement.weighted,
            each.chosen.scale,
            each.chosen.composition,
        )
        for each in combined
    ]


def random_candidates(
    config: BehavioursConfig, singles: Sequence[Candidate], combined: Sequence[Combined]
) -> list[Candidate]:
    """Return random directions of equal norm in the place of all vectors, for the kinds that are asked for.

    Of each kind and pattern the arrangement that went furthest on validation items is taken; every single setting.
    """
    wanted = config.controls.of if config.controls.random else []
    sources = [each for each in singles if "single" in wanted]
    for kind in (each for each in wanted if each != "single"):
        for name in dict.fromkeys(each.pattern.name for each in combined):
            own = [each for each in combined if (each.arrangement.kind, each.pattern.name) == (kind, name)]
            if own:
                sources += combined_candidates([max(own, key=lambda each: each.chosen.gain)])
    seeds = range(config.seed + 1, config.seed + 1 + config.controls.random)
    return [
        replace(
            source,
            name=f"random, as {source.name}",
            kind="random",
            settings=tuple(
                replace(
                    source.settings[0],
                    arm="random",
                    plan=random_plan(source.settings[0].plan, seed),
                    site=source.name,
                    seed=seed,
                )
                for seed in seeds
            ),
            composition=None,
        )
        for source in sources
    ]


def prompt_candidates(config: BehavioursConfig, patterns: Sequence[Pattern]) -> list[Candidate]:
    """Return a system prompt that asks for all behaviours, one for every pattern; none where nothing is to be said."""
    if not config.controls.prompt:
        return []
    found: list[Candidate] = []
    for pattern in patterns:
        said = system_prompt(config, pattern)
        if said:
            setting = Setting("prompt", system=said, site=f"prompt ({pattern.name})")
            found.append(Candidate(f"prompt ({pattern.name})", "prompt", (setting,), pattern.sign))
    return found


def system_prompt(config: BehavioursConfig, pattern: Pattern) -> str:
    """Return a system prompt that asks for a pattern; empty where the configuration has no words for any behaviour."""
    asks = [
        config.asks[name].more if sign > 0 else config.asks[name].less
        for name, sign in pattern.signs.items()
        if name in config.asks
    ]
    return " ".join([config.opening.strip(), *(ask.strip() for ask in asks)]) if asks else ""


def tested(desk: Desk[BehavioursConfig], candidates: Sequence[Candidate], panel: Panel) -> list[Tested]:
    """Return the outcomes of every candidate on test items; all of one kind are measured together.

    Plain prose is not read under a system prompt, where its divergence says nothing, and knowledge at the kinds of
    settings that the configuration names.
    """
    found: dict[str, Tested] = {}
    kinds = list(dict.fromkeys(each.kind for each in candidates))
    for number, kind in enumerate(kinds, start=1):
        own = [each for each in candidates if each.kind == kind]
        tasks: list[Task] = list(panel.behaviours.values())
        if kind != "prompt":
            tasks.append(panel.prose)
        if panel.knowledge and kind in desk.config.knowledge.kinds:
            tasks.append(panel.knowledge)
        settings = [setting for each in own for setting in each.settings]
        rows = iter(desk.measured(f"test {number} of {len(kinds)}: {kind}", tasks, settings))
        for each in own:
            measured = tuple(islice(rows, len(each.settings) * len(tasks)))
            # The mean over seeds comes behind them, and takes their place.
            found[each.name] = Tested(each, {row.task.name: row for row in with_pooled(measured)}, measured)
    return [found[each.name] for each in candidates]


def unsteered() -> Candidate:
    """Return the unsteered model."""
    return Candidate("unsteered", "unsteered", (UNSTEERED,))


def member_rows(candidate: Candidate) -> list[dict[str, Any]]:
    """Return what each direction is asked, added with and predicted to do, as the record has it."""
    members = candidate.composition.members if candidate.composition else ()
    return [
        {
            "behaviour": each.name,
            "site": str(each.site),
            "asked": each.asked,
            "coefficient": each.coefficient,
            "effect": each.effect,
            "outcome": each.outcome,
        }
        for each in members
    ]
