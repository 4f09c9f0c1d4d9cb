"""`selection.html`: why this coefficient, on one self-contained page; the figure and the record beside it."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from steersman.files import write_json
from steersman.report.figures import FAINT, PALETTE, Chart, Key, Panel, limits, save_chart
from steersman.report.selection_plot import WORDS, selection_chart
from steersman.report.selection_record import Part, Place, Profile, Search, parts_of
from steersman.report.templating import Drawn, drawn, environment
from steersman.report.words import coefficient, number, slug
from steersman.report.writing import write_atomically
from steersman.selection.curve import Trial

_FIGURE = re.compile(r"(selection|sites)(-\d+)?\.(png|svg)")


@dataclass(frozen=True)
class _Line:
    """One coefficient of the table of completions, all text."""

    coefficient: str
    tag: str
    kind: str
    signals: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """The completions of one search."""

    search: Search
    heads: tuple[tuple[str, str], ...]
    lines: tuple[_Line, ...]


@dataclass(frozen=True)
class _Section:
    """One selection, ready for the template."""

    part: Part
    figures: tuple[Drawn, ...]
    tables: tuple[_Table, ...]
    others: tuple[_Table, ...]
    profile: Drawn | None


def write_selection(folder: Path, record: Mapping[str, Any], *, title: str = "") -> Path:
    """Return the path of the page written, beside `selection.json` and the figures.

    Args:
        folder: where to; made where it does not exist.
        record: plain data: `CoefficientChoice.plain()`, `Selection.plain()`, or several of them under `selections`.
        title: of the page, such as the direction's name.

    Returns:
        `folder/selection.html`. The first figure is `selection.png` and `selection.svg`, the next `selection-2.png`.

    Raises:
        InputError: for a record of none of these forms.
        FileError: when the folder cannot be written to.
    """
    place = Path(folder)
    parts = parts_of(record)
    groups = _together(parts)
    charts = {id(group[0]): selection_chart(group, _numbered("selection", at)) for at, group in enumerate(groups)}
    profiles = [part.profile and _profile_chart(part.profile, _numbered("sites", at)) for at, part in enumerate(parts)]
    sections = [
        _Section(
            part,
            # A figure with both signs stands where its first one does.
            tuple(drawn(charts[id(search)]) for search in part.drawn if id(search) in charts),
            tuple(map(_table, part.drawn)),
            tuple(map(_table, part.others)),
            None if profile is None else drawn(profile),
        )
        for part, profile in zip(parts, profiles, strict=True)
    ]
    page = environment().get_template("selection.html.j2").render(
        title=title or "Which layer, how strongly", sections=sections, palette=PALETTE, written=coefficient
    )  # fmt: skip
    write_json(place / "selection.json", dict(record))
    saved = (*charts.values(), *(profile for profile in profiles if profile is not None))
    for chart in saved:
        save_chart(chart, place)
    _remove_others(place, {chart.name for chart in saved})
    return write_atomically(place / "selection.html", page.encode())


def _remove_others(place: Path, names: Collection[str]) -> None:
    """Remove the figures that an earlier page of the same folder had and this one has not."""
    for old in place.iterdir():
        if _FIGURE.fullmatch(old.name) and old.stem not in names:
            old.unlink()


def _numbered(name: str, place: int) -> str:
    return name if place == 0 else f"{name}-{place + 1}"


def _together(parts: Sequence[Part]) -> list[list[Search]]:
    """Return the searches by what one figure can show: both signs of one place are one, two directions never."""
    groups: dict[tuple[str | int, ...], list[Search]] = {}
    times: Counter[tuple[str | int, ...]] = Counter()
    for name, search in ((part.name, search) for part in parts for search in part.drawn):
        place = (name, *search.what, search.rule)
        # A sign that comes again is another search of the same place.
        groups.setdefault((*place, times[(*place, search.sign)]), []).append(search)
        times[(*place, search.sign)] += 1
    return list(groups.values())


def _table(search: Search) -> _Table:
    """Return every trial with its completions, by rising size of the coefficient."""
    names = sorted({name for trial in search.trials for name in trial.signals})
    heads = tuple((name.replace("_", " "), WORDS.get(name, name)) for name in names)
    return _Table(search, heads, tuple(_line(search, trial, names) for trial in search.trials))


def _line(search: Search, trial: Trial, names: Sequence[str]) -> _Line:
    tag, kind = _tag(search, trial)
    signals = tuple(number(trial.signals[name], 2) if name in trial.signals else "" for name in names)
    return _Line(coefficient(trial.coefficient), tag, kind, signals, trial.completions)


def _tag(search: Search, trial: Trial) -> tuple[str, str]:
    """Return what a trial is called in the table, and its class there."""
    if not trial.coefficient:
        return "unsteered", ""
    if search.shown is not None and trial.coefficient == search.shown.coefficient:
        exact = trial.coefficient == search.recommended
        return "recommended" if exact else f"nearest to the recommended {coefficient(search.recommended)}", "chosen"
    if search.allowed is not None and trial.coefficient == search.allowed:
        return "the rule's own, before the budget", ""
    if search.alarm is not None and trial.coefficient == search.alarm:
        return "alarm", "past"
    if search.past(trial):
        return "past the alarm", "past"
    if search.onset is not None and trial.coefficient == search.onset:
        return "onset", ""
    return "", ""


def _profile_chart(profile: Profile, name: str) -> Chart | None:
    """Return the merit of every site; None where fewer than two are known."""
    known = [place for place in profile.places if place.merit is not None]
    if len(known) < 2:
        return None
    best = next((place for place in known if place.chosen), None)
    taken = f"; {best.site} chosen" if best else "; none chosen"
    panel = Panel(
        slug(name, "merit"),
        profile.measure.capitalize(),
        f"{profile.measure} at {len(known)} sites{taken}.",
        partial(_draw_profile, profile=profile, places=known),
        width=7.4,
        height=2.9,
    )
    keys = (
        Key("circle", "steered", "in the running"),
        Key("ring", "faint", "dropped"),
        Key("line", "frontier", "chosen"),
    )
    return Chart(name, "Which site", "Layers are 0-based decoder blocks.", (panel,), 1, keys)


def _draw_profile(axes: Axes, *, profile: Profile, places: Sequence[Place]) -> None:
    merits = [place.merit or 0.0 for place in places]
    axes.axhline(0, color=FAINT, linewidth=0.9, zorder=1)
    for place, merit in zip(places, merits, strict=True):
        blue, green = PALETTE["steered"][0], PALETTE["frontier"][0]
        face, edge = ("none", FAINT) if place.dropped else (blue, blue)
        axes.plot(place.layer, merit, "o", markersize=6, markerfacecolor=face, markeredgecolor=edge, zorder=3)
        if place.chosen:
            axes.axvline(place.layer, color=green, linewidth=1.8, zorder=2)
    layers = sorted({place.layer for place in places})
    axes.set_xlim(layers[0] - 0.8, layers[-1] + 0.8)
    axes.set_xticks(layers[:: max(1, -(-len(layers) // 10))])
    axes.set_ylim(*limits([0.0, *merits], least=0.05, floor=-float("inf"), ceiling=float("inf")))
    axes.set_xlabel("layer (0-based decoder block)")
    axes.set_ylabel(profile.measure.removeprefix("change of "))
