"""Two pictures in one: how many times as long each contender takes, and how a sweep's time grows."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

COLOURS = {"plain": "#7f7f7f", "repeng": "#d95f02", "steering-vectors": "#7570b3", "pyvene": "#1b9e77"}
COLOURS |= {"nnsight": "#e7298a", "lm-eval": "#66a61e"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the picture of a report; panels without data are left out."""
    bars = [
        (work["work"], row)
        for work in report["works"]
        if work["base"] == "steersman"
        for row in work["rows"]
        if row["label"] != "steersman" and "ratio" in row
    ]
    curve = next((work for work in report["works"] if work["work"] == "curve"), None)
    kinds = grown(curve) if curve else {}
    panels = [("bars", None)] * bool(bars) + [("curve", kind) for kind in kinds]
    if not panels:
        return
    across, down = min(len(panels), 2), -(-len(panels) // 2)
    size = (5.6 * across, 4.4 * down)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for place in axes.flat[len(panels) :]:
        place.set_visible(False)
    for place, (panel, kind) in zip(axes.flat, panels, strict=False):
        if panel == "bars":
            draw_bars(place, bars, report["targets"])
        else:
            draw_growth(place, kind, kinds[kind])
    figure.suptitle(f"{report['model']}, {report['dtype']}, {report['threads']} threads", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_bars(place: Axes, bars: list[tuple[str, dict[str, Any]]], targets: list[dict[str, Any]]) -> None:
    goals = {(row["work"], row["what"].split(" / ")[0]): row["target"] for row in targets}
    for height, (work, row) in enumerate(reversed(bars)):
        low, high = row["ratio"] - row["least"], row["most"] - row["ratio"]
        place.barh(height, row["ratio"], color=COLOURS.get(row["label"], "#444444"), height=0.7)
        # The ratio of medians may lie outside the rounds' own ratios.
        place.errorbar(row["ratio"], height, xerr=[[max(low, 0)], [max(high, 0)]], color="black", capsize=3, lw=1)
        goal = goals.get((work, row["label"]))
        if goal:
            place.plot([goal, goal], [height - 0.45, height + 0.45], color="black", lw=2, ls=":")
    place.set_yticks(range(len(bars)), [f"{work}: {row['label']}" for work, row in reversed(bars)], fontsize=8)
    place.axvline(1, color="black", lw=0.8)
    place.set_xlim(0, max(max(row["most"], goals.get((work, row["label"]), 0)) for work, row in bars) * 1.08)
    place.set_xlabel("time, multiple of steersman's\n(median; whiskers: all rounds; dotted: target)")
    place.set_title("Side by side", fontsize=10)
    place.spines[["top", "right"]].set_visible(False)


def grown(curve: dict[str, Any]) -> dict[str, dict[str, list[tuple[int, dict[str, Any]]]]]:
    """Return the curve's rows by what grows and by contender: labels read `contender, COUNT what`."""
    found: dict[str, dict[str, list[tuple[int, dict[str, Any]]]]] = {}
    for row in curve["rows"]:
        if "seconds" not in row:
            continue
        contender, words = row["label"].split(", ")
        count, what = words.split(" ")
        found.setdefault(what, {}).setdefault(contender, []).append((int(count), row))
    return {what: by for what, by in found.items() if any(len(rows) > 1 for rows in by.values())}


def draw_growth(place: Axes, what: str, by_contender: dict[str, list[tuple[int, dict[str, Any]]]]) -> None:
    for contender, rows in by_contender.items():
        rows.sort(key=lambda pair: pair[0])
        counts, medians = [count for count, _ in rows], [row["median"] for _, row in rows]
        least, most = ([end(row["seconds"]) for _, row in rows] for end in (min, max))
        colour = COLOURS.get(contender, "#1f77b4")
        place.plot(counts, medians, "o-", color=colour, label=contender, ms=4)
        place.fill_between(counts, least, most, color=colour, alpha=0.2, lw=0)
        if contender == "steersman" and what != "layers":
            linear = [medians[0] * count / counts[0] for count in counts]
            place.plot(counts, linear, "--", color="#999999", lw=1, label="in proportion to its first point")
    if what != "layers":
        place.set_xscale("log", base=2)
        place.set_yscale("log")
        ticks = sorted({count for rows in by_contender.values() for count, _ in rows})
        place.set_xticks(ticks, [str(tick) for tick in ticks])
        place.minorticks_off()
        place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        place.yaxis.set_major_formatter("{x:g}")
    else:
        place.set_ylim(bottom=0)
    place.set_xlabel({"coefficients": "coefficients of the sweep", "layers": "layers edited"}.get(what, what))
    place.set_ylabel("time of a sweep, s (median; band: all rounds)")
    place.set_title(f"Growth with {what}", fontsize=10)
    place.legend(fontsize=8, frameon=False)
    place.spines[["top", "right"]].set_visible(False)
