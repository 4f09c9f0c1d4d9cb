"""The making of a direction as HTML: steps, what was tried, and at the end the sentence, the figure and the reason."""

import html

from steersman.report.words import coefficient
from steersman.web.making import Made, Progress, Stage
from steersman.web.steering import signed

SHOWN = 6
"""Tried strengths that are shown while more come."""

EXCERPT = 150
"""Characters of what was written under each."""

STEPS: tuple[tuple[Stage, str], ...] = (
    ("reading", "Reading both sides of every pair, at every layer"),
    ("selecting", "Trying layers and strengths, until the text stops being coherent"),
    ("done", "Choosing the strongest that stays within the budget"),
)
PANELS = 2
"""Of the figure: coherence with alarm and recommendation, and the effect."""


def idle() -> str:
    """Return what stands there before anything was made."""
    return (
        '<div class="welcome"><h2>Make a direction of your own</h2>'
        "<p>Say what it should bring and what its opposite is. The model reads both said in many ways; the difference "
        "is the direction. Then layers and strengths are tried on it, and the strongest that leaves the text coherent "
        "is recommended.</p></div>"
    )


def under_way(progress: Progress, name: str) -> str:
    """Return the steps and the latest strengths that were tried."""
    stages = [stage for stage, _ in STEPS]
    now = stages.index(progress.stage) if progress.stage in stages else 0
    kinds = ['class="done"'] * now + ['class="now" aria-current="step"'] + ['class=""'] * len(STEPS)
    steps = "".join(
        f"<li {kind}>{html.escape(words)}{_count(progress, stage)}</li>"
        for kind, (stage, words) in zip(kinds, STEPS, strict=False)
    )
    share = round(100 * progress.share)
    return (
        f'<div class="steps"><p class="heading">Making “{html.escape(name)}”</p><div class="track" role="progressbar" '
        f'aria-label="progress" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share}">'
        f'<i style="width:{share}%"></i></div><ol>{steps}</ol>{_tried(progress)}</div>'
    )


def cancelled(name: str) -> str:
    """Return what stands there when it was ended."""
    return f'<div class="steps"><p class="heading">“{html.escape(name)}” was stopped; nothing was kept.</p></div>'


def finished(made: Made) -> str:
    """Return what was found: a sentence, the figure with alarm and recommendation, and the reason."""
    found = made.selection
    if found.chosen is not None:
        words = (
            f"<strong>{html.escape(made.name)}</strong> acts best behind layer {found.best.site.layer}, at "
            f"<strong>{signed(found.best.coefficient)}</strong> of the residual stream’s norm."
        )
    else:
        words = f"<strong>{html.escape(made.name)}</strong> was made, but no strength of it can be recommended."
    curve = made.curve
    figures = ""
    if curve is not None:
        figures = "".join(
            f'<div class="panel" role="img" aria-label="{html.escape(described)}">{svg}</div>'
            for _, described, svg in curve.panels[:PANELS]
        )
        figures = f'<div class="figures">{figures}</div><p class="caption">{html.escape(curve.chart.caption)}</p>'
    return (
        f'<div class="steps"><p class="found">{words}</p>{_sample(made)}{figures}'
        f'<details class="why"><summary>How this was found</summary>{html.escape(found.reason)}</details></div>'
    )


def _sample(made: Made) -> str:
    """Return what was written without it and at the recommendation."""
    best = made.selection.chosen
    if best is None or best.coefficient is None:
        return ""
    curve = best.choice.curve
    rows = [("unsteered", curve.trials[0]), (coefficient(best.coefficient), curve.nearest(best.coefficient))]
    lines = "".join(
        f"<tr><td>{html.escape(label)}</td><td>{html.escape(_short(trial.completions[0]))}</td></tr>"
        for label, trial in rows
    )
    head = f"<tr><th>strength</th><th>“{html.escape(best.choice.prompts[0])}”</th></tr>"
    return f'<table class="tried">{head}{lines}</table>'


def _count(progress: Progress, stage: Stage) -> str:
    if stage == "reading" and progress.count:
        return f" · {min(progress.texts, 2 * progress.count)} of {2 * progress.count} texts"
    if stage == "selecting" and progress.sites[1]:
        return f" · {progress.sites[0]} of {progress.sites[1]} layers"
    return ""


def _tried(progress: Progress) -> str:
    latest = progress.tried[-SHOWN:][::-1]
    if not latest:
        return ""
    lines = "".join(
        f"<tr><td>{each.site.layer}</td><td>{coefficient(each.coefficient)}</td>"
        f"<td>{html.escape(_short(each.text))}</td></tr>"
        for each in latest
    )
    head = "<tr><th>layer</th><th>strength</th><th>what was written under it</th></tr>"
    return f'<table class="tried">{head}{lines}</table>'


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= EXCERPT else f"{words[:EXCERPT].rstrip()} …"
