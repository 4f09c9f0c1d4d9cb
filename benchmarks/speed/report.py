"""What was found, in words: tables, the floor, what the timed runs agree in, and whether each target is met."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from material import Material
from rich.console import Console
from rich.table import Table
from works import STUDY, Result

from checking import texts

TARGETS = [
    ("record", "repeng", "steersman", "least", 3.0),
    ("score0", "plain", "steersman", "least", 4.0),
    ("score5", "lm-eval", "steersman", "least", 10.0),
    ("generate", "repeng", "steersman", "least", 2.0),
    ("study", "repeng + lm-eval", "steersman", "least", 8.0),
    ("overhead, score", "one plan", "no plan", "most", 1.03),
    ("overhead, score", "a plan per row", "no plan", "most", 1.06),
    ("overhead, generate", "one plan", "no plan", "most", 1.03),
    ("overhead, generate", "a plan per row", "no plan", "most", 1.06),
    ("curve", "steersman, 33 coefficients", "steersman, 9 coefficients", "most", 3.2),
]
"""Work, what is measured, against what, whether the ratio of their medians is to be at least or at most, how much."""


def targets(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a row for each target of the works that were run; `met` is None where nothing could be measured."""
    found = []
    by_work = {result.work: result for result in results}
    for work, label, base, bound, value in TARGETS:
        if work not in by_work:
            continue
        ratio = by_work[work].ratio(label, base)
        met = None if ratio is None else (ratio["ratio"] >= value if bound == "least" else ratio["ratio"] <= value)
        target = {"work": work, "what": f"{label} / {base}", "bound": bound, "target": value, "met": met}
        found.append(target | (ratio or {}))
    return found


def agreement(result: Result, material: Material) -> dict[str, str]:
    """Return in words how near what each run computed while it was timed comes to steersman's, by label."""
    base = result.answers.get("steersman")
    if not base or result.work == "curve":
        return {}
    found = {}
    for label, answers in result.answers.items():
        ours, theirs = base[-1], answers[-1]
        if label == "steersman":
            continue
        if "values" in ours:
            apart = np.abs(np.array(ours["values"]) - np.array(theirs["values"]))
            found[label] = f"letters {apart.mean():.1e} nats apart on average, at most {apart.max():.1e}"
        elif "texts" in ours:
            same = [a == b for a, b in zip(texts(ours, material), texts(theirs, material), strict=True)]
            found[label] = f"{sum(same)} of {len(same)} texts are the same"
        elif "digest" in ours:
            share = theirs["digest"] / ours["digest"]
            found[label] = f"mean size of what it recorded below the top layer: {share:.4f} of steersman's"
    return found


def show(report: dict[str, Any], console: Console) -> None:
    console.print(
        f"{report['model']}, {report['dtype']}, {report['threads']} threads, {report['rounds']} rounds after a small "
        f"one that is not counted, rows: {report['origin']}"
    )
    show_checks(report["checks"], console)
    for work in report["works"]:
        show_work(work, console)
    table = Table("work", "ratio of medians", "value", "rounds' ratios", "target", "", title="Targets")
    for row in report["targets"]:
        sign = "≥" if row["bound"] == "least" else "≤"
        goal = f"{sign} {row['target']:g}"
        if row["met"] is None:
            table.add_row(row["work"], row["what"], "unmeasured", "", goal, "unmeasured")
        else:
            value, between = f"{row['ratio']:.3g}", f"{row['least']:.3g} to {row['most']:.3g}"
            table.add_row(row["work"], row["what"], value, between, goal, "met" if row["met"] else "missed")
    console.print(table)


def show_checks(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("kind", "contender", "agrees", "how near", title="Agreement with plain transformers, float32")
    for row in rows:
        table.add_row(row["kind"], row["contender"], "yes" if row["agrees"] else "NO", row["words"])
    console.print(table)


def show_work(work: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{work['work']}: {work['what']}")
    for name in ("run", "median, s", "least to most, s", f"of {work['base']}", "rounds' ratios", "tokens", "peak, MiB"):
        table.add_column(name, justify="left" if name == "run" else "right", overflow="fold")
    reasons = []
    for row in work["rows"]:
        if "unmeasured" in row:
            table.add_row(row["label"], "unmeasured", "", "", "", "", "")
            reasons.append(f"{row['label']}: unmeasured, {row['unmeasured']}")
            continue
        between = f"{min(row['seconds']):.3g} to {max(row['seconds']):.3g}"
        ratio = [f"{row['ratio']:.3f}", f"{row['least']:.3f} to {row['most']:.3f}"] if "ratio" in row else ["", ""]
        table.add_row(
            row["label"], f"{row['median']:.3g}", between, *ratio, str(row["tokens"]), f"{row['peak_mib']:.0f}"
        )
    console.print(table)
    for line in [*reasons, *remarks(work)]:
        console.print(line)


def remarks(work: dict[str, Any]) -> list[str]:
    """Return sentences on the floor, on what the harness spends outside the model, and on what the runs agree in."""
    said = [
        f"{row['label']}: {row['model_seconds']:.3g} s of its time are spent in the model (median)"
        for row in work["rows"]
        if "model_seconds" in row
    ]
    said += [
        f"{row['label']}: " + ", ".join(f"{name} {part:.3g} s" for name, part in zip(STUDY, row["parts"], strict=True))
        for row in work["rows"]
        if "parts" in row
    ]
    floor = work["extra"].get("floor", {})
    if "seconds" in floor:
        said.append(
            f"floor: {floor['seconds']:.3g} s ({floor['tokens']} tokens, {floor['block_passes']} block passes, "
            f"{floor['gflop_per_second']:.0f} GFLOP/s measured); steersman takes {floor['times']:.2f} times the floor"
        )
    elif "unmeasured" in floor:
        said.append(f"floor: unmeasured, {floor['unmeasured']}")
    said += [f"{label}: {words}" for label, words in work["extra"].get("agreement", {}).items()]
    return said
