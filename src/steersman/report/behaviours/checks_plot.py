"""Two checks: what the cosines foretold against what came, and whether answers by letter still say anything."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from steersman.report.behaviours.drawing import MARKERS, Line, behaviour_keys, counts_of, draw_line, style
from steersman.report.behaviours.values import Letters, Prediction, Record
from steersman.report.figures import CARD, FAINT, INK, PALETTE, Chart, Key, Panel
from steersman.report.words import coefficient, number, slug
from steersman.tasks.behaviour import COLLAPSE

_REACH = 3.0
"""Least end of the axes of predictions; what was measured can be far out where a behaviour alone hardly moves."""
_ALARM = PALETTE["prompt"][0]
_LAYERS = tuple(PALETTE[name][0] for name in ("steered", "harmless", "both", "harmful", "permuted", "shuffled"))


def predictions_chart(record: Record) -> Chart | None:
    """Return predicted against measured effects; None where nothing was predicted and measured."""
    shown = [each for each in record.predictions if each.measured is not None]
    if not shown:
        return None
    sentence = record.prediction.sentence if record.prediction else ""
    reach = max(_REACH, 1.1 * max(abs(each.predicted) for each in shown))
    beyond = sum(abs(each.measured.value) > reach for each in shown if each.measured)
    outside = (
        f" {beyond} lie{'s' if beyond == 1 else ''} outside the frame and {'is' if beyond == 1 else 'are'} drawn at "
        "its edge as a triangle: divided by a small effect alone, a number grows large."
        if beyond
        else ""
    )
    few = sum(not each.counts for each in shown)
    pale = f" Pale ({few}): the behaviour does not move alone, so a share of that says little and is not counted."
    pale = pale if few else ""
    panel = Panel(
        name="predictions-all",
        title="Predicted against measured",
        description=f"{len(shown)} effects, predicted across and measured up. {sentence}",
        draw=partial(_draw_predictions, shown=shown, names=record.names, reach=reach),
        width=6.2,
        height=5.0,
    )
    return Chart(
        name="predictions",
        title="Did the cosines foretell it?",
        caption=(
            f"{sentence} Every mark is one behaviour under one way of steering several. Across: the push along its own "
            "axis that the cosines predict, as a multiple of the push it gets alone. Up: how far its margin moved on "
            "the test items, as a multiple of what its vector does alone, with 95 % intervals. 1 is neither weakened "
            "nor strengthened; below 0 it is reversed. On the line the prediction is exact; hollow marks are those "
            f"where the two do not agree.{pale}{outside} "
            f"{counts_of(each.measured.n for each in shown if each.measured)} items each."
        ).strip(),
        panels=(panel,),
        columns=1,
        legend=(*behaviour_keys(record.names), Key("dashed", "faint", "predicted = measured")),
    )


def _draw_predictions(axes: Axes, *, shown: Sequence[Prediction], names: Sequence[str], reach: float) -> None:
    axes.axhline(0, color=FAINT, linewidth=0.9, zorder=1)
    axes.axvline(0, color=FAINT, linewidth=0.9, zorder=1)
    axes.plot([-reach, reach], [-reach, reach], "--", color=FAINT, linewidth=1.3, zorder=2)
    for each in shown:
        if each.measured is None:
            continue
        look = style(names.index(each.behaviour) if each.behaviour in names else len(names))
        value = max(-reach, min(reach, each.measured.value))
        out = value != each.measured.value
        low, high = (max(-reach, min(reach, end)) for end in (each.measured.low, each.measured.high))
        pale = 1.0 if each.counts else 0.35
        axes.plot([each.predicted] * 2, [low, high], color=look["color"], linewidth=0.9, alpha=0.5 * pale, zorder=3)
        marker = ("^" if value > 0 else "v") if out else look["marker"]
        axes.plot(
            each.predicted, 0.955 * value if out else value, linestyle="", marker=marker, markersize=9 if out else 7,
            markeredgecolor=look["color"], markerfacecolor=look["color"] if each.agrees else CARD, markeredgewidth=1.4,
            alpha=pale, zorder=4,
        )  # fmt: skip
    across = [each.predicted for each in shown]
    low, high = min(0.0, *across), max(1.0, *across)
    air = 0.08 * (high - low)
    axes.set_xlim(low - air, high + air)
    ends = [0.0, 1.0, *(end for each in shown if each.measured for end in (each.measured.low, each.measured.high))]
    axes.set_ylim(max(-reach, min(ends) - 0.1), min(reach, max(ends) + 0.1))
    axes.set_xlabel("predicted (multiples of alone)")
    axes.set_ylabel("measured (multiples of alone)")


def letters_chart(record: Record) -> Chart | None:
    """Return, for each behaviour, how often the most given answer comes by coefficient; None without letters."""
    steered = [each for each in record.letters if each.layer is not None]
    known = [name for name in record.names if any(each.behaviour == name for each in steered)]
    if not known:
        return None
    given = all(each.given is not None for each in record.letters)
    panels = tuple(_letters_panel(record, name, given=given) for name in known)
    collapsed = sum(each.collapsed for each in record.letters)
    points = len(record.letters)
    what = (
        "How often the answer that is given most comes, by log-probability of the letters. Above the dashed line "
        f"({100 * COLLAPSE:.0f} %) one letter is the answer to nearly everything, and the score by letter tells "
        "nothing of the behaviour: the answers have collapsed."
        if given
        else "How often the letter that shows the behaviour is the likelier one. The share of the answer given most "
        "was not recorded at every point."
    )
    return Chart(
        name="letters",
        title="Answers by letter",
        caption=(
            f"{what} Ringed: reported as collapsed, {collapsed} of {points} points. Why every finding here reads the "
            f"options' words instead. Validation items, {counts_of(each.letter.n for each in record.letters)}; "
            f"coefficients in {record.unit} units, 0 is the unsteered model on the test items."
        ),
        panels=panels,
        columns=min(3, len(panels)),
        legend=(
            Key("star", "ink", "unsteered"),
            Key("ring", "prompt", "collapsed"),
            *((Key("dashed", "prompt", f"{100 * COLLAPSE:.0f} %: collapse"),) if given else ()),
        ),
    )


def _letters_panel(record: Record, name: str, *, given: bool) -> Panel:
    mine = [each for each in record.letters if each.behaviour == name and each.layer is not None]
    base = next((each for each in record.baseline if each.behaviour == name), None)
    start: float | None = None
    if base is not None:
        start = base.given if given else (base.letter.value if base.letter else None)
    words = [
        f"layer {each.layer} at {coefficient(each.coefficient)}: {number(100 * _height(each, given=given), 0)} %"
        + (" (collapsed)" if each.collapsed else "")
        for each in mine
    ]
    what = "Share of the answer given most" if given else "Share of matching letters"
    return Panel(
        name=slug("letters", name),
        title=name,
        description=f"{name}. {what}: {'; '.join(words)}.",
        draw=partial(_draw_letters, mine=mine, given=given, start=start, fallen=bool(base and base.collapse)),
        width=4.3,
        height=2.9,
    )


def _height(each: Letters, *, given: bool) -> float:
    return each.given if given and each.given is not None else each.letter.value


def _draw_letters(axes: Axes, *, mine: Sequence[Letters], given: bool, start: float | None, fallen: bool) -> None:
    layers = sorted({each.layer for each in mine if each.layer is not None})
    for place, layer in enumerate(layers):
        points = sorted((each.coefficient, 100 * _height(each, given=given)) for each in mine if each.layer == layer)
        line = Line(f"layer {layer}", place, tuple((at, value, value, value) for at, value in points))
        colour = _LAYERS[place % len(_LAYERS)]
        draw_line(axes, line, color=colour, marker=MARKERS[place % len(MARKERS)], label=line.name)
    ringed = [(each.coefficient, 100 * _height(each, given=given)) for each in mine if each.collapsed]
    if start is not None:
        axes.plot(0, 100 * start, "*", color=INK, markersize=10, markeredgewidth=0, zorder=4)
        ringed += [(0.0, 100 * start)] if fallen else []
    if ringed:
        axes.plot(
            *zip(*ringed, strict=True), linestyle="", marker="o", markersize=11, markerfacecolor="none",
            markeredgecolor=_ALARM, markeredgewidth=1.3, zorder=5, clip_on=False,
        )  # fmt: skip
    if given:
        axes.axhline(100 * COLLAPSE, color=_ALARM, linewidth=1.3, linestyle="--", zorder=2)
    axes.set_ylim(*((40, 104) if given else (-4, 104)))
    axes.set_yticks([50, 75, 100] if given else [0, 50, 100])
    axes.set_xlabel("coefficient")
    axes.set_ylabel("most given answer (%)" if given else "matching letter (%)")
    if len(layers) > 1:
        axes.legend(loc="lower left", fontsize=8, handlelength=1.6, labelspacing=0.25, borderpad=0.2)
