"""The figure of a selection: what a rule read, what it gained and what it cost, against the coefficient.

Panels stand above each other over one axis of coefficients, both signs on it where both were searched. Onset, alarm and
recommendation are lines across all panels, named in the first; what lies past an alarm is shaded. Line and dash tell
them apart where colour does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from steersman.errors import InputError
from steersman.report.figures import CARD, FAINT, PALETTE, Chart, Key, Panel, limits
from steersman.report.selection_record import Search
from steersman.report.words import UNITS, coefficient, slug
from steersman.selection.projection import PROJECTION, PROJECTION_WORDS
from steersman.selection.rules import Coherent, Product, Threshold, rule_named
from steersman.selection.signals import OF_CONCEPT, SIGNALS, TEXT_SIGNALS

EFFECTS = (*OF_CONCEPT, PROJECTION)
"""The signals that say how much the behaviour shows."""

WORDS: Mapping[str, str] = {**SIGNALS, **TEXT_SIGNALS, PROJECTION: PROJECTION_WORDS}
MOST = 4
"""Panels of a figure."""

_STEERED, _GOOD, _BAD, _BEGIN = (PALETTE[name][0] for name in ("steered", "frontier", "prompt", "shuffled"))
_LEGEND = (
    Key("circle", "steered", "a coefficient that was tried"),
    Key("line", "frontier", "recommended"),
    Key("dotted", "shuffled", "onset of the behaviour"),
    Key("dashed", "prompt", "alarm: coherence ends"),
)
_STRIP = 0.30
"""Share of the first panel's height that is kept free for the names of the lines."""


@dataclass(frozen=True)
class _View:
    """One panel: a title, an axis, a value for each trial of each search, and the values that the rule allows."""

    name: str
    title: str
    axis: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    low: float | None = None
    high: float | None = None


def selection_chart(searches: Sequence[Search], name: str = "selection") -> Chart:
    """Return the chart of the searches of one place, not yet drawn.

    Args:
        searches: of the same sites, unit, edit and span; one, or one of each sign.
        name: of the files.

    Raises:
        InputError: for none, searches of several places, or trials without any signal.
    """
    if not searches or len({search.what for search in searches}) != 1:
        raise InputError("expected searches of one place, unit, edit and span to draw, got none or several")
    views = _views(searches)
    if not views:
        raise InputError("expected trials with signals to draw, got none")
    first = searches[0]
    panels = tuple(
        Panel(
            name=slug(name, view.name),
            title=view.title,
            description=_description(view, searches, first.unit),
            draw=partial(_draw, view=view, searches=searches, named=place == 0),
            width=7.4,
            height=2.7,
        )
        for place, view in enumerate(views)
    )
    return Chart(
        name=name,
        title=f"How strongly: {first.edit} at {first.sites}",
        caption=(
            f"Every mark is one coefficient, in {first.unit} units: {UNITS[first.unit]}; means over "
            f"{len(first.prompts)} prompt{'s' if len(first.prompts) != 1 else ''}. 0 is the unsteered model. "
            "Shaded: past the alarm, shown up to twice as far."
        ),
        panels=panels,
        columns=1,
        legend=_LEGEND,
    )


def _views(searches: Sequence[Search]) -> list[_View]:
    """Return what the rule reads first, then effects, then costs, then whatever else was measured."""
    shared = [set(trial.signals) for search in searches for trial in search.trials]
    known = sorted(set.intersection(*shared)) if shared else []
    ruled = _ruled(searches)
    taken = {ruled.name} if ruled else set[str]()
    rest = [name for name in known if name not in taken]
    effects = [name for name in EFFECTS if name in rest]
    costs = [name for name in TEXT_SIGNALS if name in rest]
    others = [name for name in SIGNALS if name in rest and name not in effects]
    order = [*effects, *costs, *others, *(name for name in rest if name not in (*effects, *costs, *others))]
    views = [ruled] if ruled else []
    return [*views, *(_view(name, searches) for name in order)][:MOST]


def _ruled(searches: Sequence[Search]) -> _View | None:
    """Return what the rule reads of coherence, with its threshold; None for a rule that is not among the shipped."""
    if len({search.rule for search in searches}) != 1:
        return None
    try:
        rule = rule_named(searches[0].rule)
    except InputError:
        return None
    # Of a product only what coherence is read from: without a concept, the behaviour is read elsewhere.
    read = set(rule.coherence.weights if isinstance(rule, (Coherent, Product)) else rule.signals)
    there = all(read <= set(trial.signals) for search in searches for trial in search.trials)
    if isinstance(rule, Threshold) and there:
        low, high = rule.limits(searches[0].trials[0].signals[rule.signal])
        return _View(rule.signal, f"Coherence, by the rule {rule.name}", _axis(rule.signal),
                     _lines(rule.signal, searches), low, high)  # fmt: skip
    if isinstance(rule, (Coherent, Product)) and there:
        lines = tuple(
            tuple((t.coefficient, rule.coherence.read(t.signals, search.trials[0].signals)) for t in search.trials)
            for search in searches
        )
        title = f"Coherence, by the rule {rule.name}"
        low = rule.whole if isinstance(rule, Coherent) else rule.least
        return _View("coherence", title, "read off the completion (1 to 10)", lines, low=low)
    return None


def _view(name: str, searches: Sequence[Search]) -> _View:
    kind = "Cost" if name in TEXT_SIGNALS else "Effect" if name in EFFECTS else "Measured"
    return _View(name, f"{kind}: {_short(name)}", _axis(name), _lines(name, searches))


def _lines(name: str, searches: Sequence[Search]) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(tuple((trial.coefficient, trial.signals[name]) for trial in search.trials) for search in searches)


def _short(name: str) -> str:
    """Return a signal's words without its unit, cut where they explain."""
    return WORDS.get(name, name.replace("_", " ")).split(", ")[0].partition(" (")[0]


def _axis(name: str) -> str:
    """Return an axis label that fits a small panel: the name and the unit."""
    words = WORDS.get(name, "")
    unit = "class separations" if "separations" in words else "share, 0 to 1" if words.startswith("share") else ""
    if "nats" in words:
        unit = "nats per token" if "per token" in words else "nats"
    short = name.removeprefix("text_").replace("_", " ").replace("kl", "KL")
    return f"{short} ({unit})" if unit else short


def _description(view: _View, searches: Sequence[Search], unit: str) -> str:
    said: list[str] = []
    for search, line in zip(searches, view.lines, strict=True):
        first, last = line[0], line[-1]
        marks = [
            f"{name} {coefficient(value)}"
            for name, value in (("onset", search.onset), ("recommended", search.recommended), ("alarm", search.alarm))
            if value is not None
        ]
        said.append(
            f"{first[1]:.3g} unsteered, {last[1]:.3g} at {coefficient(last[0])}"
            + (f"; {', '.join(marks)}" if marks else "")
            + ("" if search.alarm is not None else f"; no alarm up to {coefficient(search.tried)}")
        )
    return f"{view.title}, {view.axis}, against the coefficient in {unit} units: {'. '.join(said)}."


def _draw(axes: Axes, *, view: _View, searches: Sequence[Search], named: bool) -> None:
    across = _across(searches)
    axes.set_xlim(*across)
    _limit(axes, view, across, named)
    for search in searches:
        _mark(axes, search, across, named)
    for edge, words in ((view.low, "allowed from here up"), (view.high, "allowed up to here")):
        if edge is not None:
            axes.axhline(edge, color=FAINT, linewidth=1.1, linestyle=(0, (5, 2)), zorder=2)
            # At 0, where no curve is near its limit.
            side = 0 if len(searches) > 1 else searches[0].sign
            axes.annotate(
                words, (0, edge), xytext=(5 * side, 2), textcoords="offset points", va="bottom", fontsize=7.5,
                ha=("right", "center", "left")[side + 1], color=FAINT, bbox=_plate(), zorder=4,
            )  # fmt: skip
    for search, line in zip(searches, view.lines, strict=True):
        axes.plot(
            *zip(*line, strict=True), "-o", color=_STEERED, markersize=4, linewidth=1.4, markeredgewidth=0, zorder=5
        )
        if search.shown is not None:
            at = search.shown.coefficient
            axes.plot(
                at, dict(line)[at], "o", markersize=10, markerfacecolor="none", markeredgecolor=_GOOD,
                markeredgewidth=1.4, zorder=6,
            )  # fmt: skip
    if named:
        _name(axes, searches, across)
    axes.set_ylabel(view.axis, fontsize=8.5)
    axes.set_xlabel(f"coefficient ({searches[0].unit} units)")


def _limit(axes: Axes, view: _View, across: tuple[float, float], named: bool) -> None:
    """Set the limits of what stands between the ends; of the first panel with a strip free at the top."""
    seen = [value for line in view.lines for at, value in line if across[0] <= at <= across[1]]
    seen += [edge for edge in (view.low, view.high) if edge is not None]
    if min(seen) > 0 and max(seen) > 50 * min(seen):  # perplexities run over orders of magnitude
        axes.set_yscale("log")
        axes.set_ylim(min(seen) / 1.3, max(seen) * (6 if named else 1.3))
        return
    low, high = limits(seen, least=0.05, floor=-float("inf"), ceiling=float("inf"))
    axes.set_ylim(low, high + (_STRIP / (1 - _STRIP) * (high - low) if named else 0))


def _across(searches: Sequence[Search]) -> tuple[float, float]:
    """Return the ends of the axis: all that was tried, but little of what lies far past the alarm."""
    ends = [0.0]
    for search in searches:
        end = search.tried
        if search.alarm is not None and abs(search.tried) > 2 * abs(search.alarm):
            end = 2 * search.alarm
        ends.append(end)
    width = max(ends) - min(ends)
    return min(ends) - 0.03 * width, max(ends) + 0.03 * width


def _marks(search: Search) -> list[tuple[float | None, str, str, str, float]]:
    """Return a search's lines: where, what it is called, colour, dashes, and how high its name stands.

    The innermost stands highest, and every line ends at its name, so that none runs through another's.
    """
    return [
        (search.onset, "onset", _BEGIN, ":", 0.955),
        (search.recommended, "recommended", _GOOD, "-", 0.865),
        (search.alarm, "alarm", _BAD, "--", 0.775),
    ]


def _mark(axes: Axes, search: Search, across: tuple[float, float], named: bool) -> None:
    """Draw a search's lines, and shade what lies past its alarm."""
    if search.alarm is not None:
        end = across[1] if search.sign > 0 else across[0]
        axes.axvspan(min(search.alarm, end), max(search.alarm, end), color=_BAD, alpha=0.07, linewidth=0, zorder=0.5)
    for at, _, colour, dashes, height in _marks(search):
        if at is not None:
            axes.axvline(at, ymax=height if named else 1, color=colour, linewidth=1.7, linestyle=dashes, zorder=3)


def _name(axes: Axes, searches: Sequence[Search], across: tuple[float, float]) -> None:
    """Name the lines in the strip at the top, a row for each kind."""
    for search in searches:
        reach = abs(across[1] if search.sign > 0 else across[0])
        for at, words, colour, _, height in _marks(search):
            place, text = at, f"{words} {coefficient(at)}"
            if at is None and words == "alarm":
                place, text = search.tried, f"no alarm up to {coefficient(search.tried)}"
            if place is None:
                continue
            # Away from 0, where the other sign's names stand, unless the frame is near.
            outward = abs(place) < 0.62 * reach
            right = outward == (search.sign > 0)
            axes.annotate(
                text, (place, height), xycoords=("data", "axes fraction"), xytext=(4 if right else -4, 0),
                textcoords="offset points", ha="left" if right else "right", va="center", fontsize=8.5, color=colour,
                fontweight="bold" if words == "recommended" else "normal", bbox=_plate(), zorder=7,
            )  # fmt: skip


def _plate() -> dict[str, object]:
    return {"boxstyle": "square,pad=0.1", "facecolor": CARD, "edgecolor": "none", "alpha": 0.85}
