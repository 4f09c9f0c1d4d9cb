"""The conversation as HTML: both answers beside each other, every token coloured, coherence and gates below.

Text that a model wrote is escaped before anything else is done with it; it may hold markup, also by intent.
"""

import html
from collections.abc import Callable, Sequence

from steersman.judges.coherence import Coherence, distinct_ngrams
from steersman.web.following import Read
from steersman.web.talk import Side, Turn

Place = Callable[[float], float]
"""Standard deviations from an ordinary answer's words, of a projection."""

STEPS = 5
"""Shades of each colour."""

FULL = 4.0
"""Standard deviations from which on a token has the full colour."""

LIMITS = Coherence()
DRIFTS = 0.85
"""Share of the way to falling apart from which on a text is said to drift."""

WORST = -5.0
"""Mean log-probability per token, nats, at which the meter is empty."""

UNCOLOURED = '<div class="legend">Words are not coloured.</div>'
"""What stands in a legend's place where there are no colours."""

FEWEST = 3
"""Tokens that are read before anything is said of coherence."""

ENDS = {
    "length": "cut at the length limit",
    "cancelled": "stopped",
    "failed": "not answered",
}


def transcript(turns: Sequence[Turn], places: Callable[[str], Place | None], *, chat: bool) -> str:
    """Return the conversation as HTML.

    Args:
        turns: from the first on.
        places: for the name of a direction, what turns a projection into standard deviations.
        chat: whether the model answers, or goes on with a text.
    """
    return "".join(_turn(turn, places(turn.colour) if turn.colour else None, chat=chat) for turn in turns)


def legend(up: str, down: str) -> str:
    """Return what the colours mean: towards a direction, and away from it."""
    steps = "".join(f'<i class="n{step}"></i>' for step in range(STEPS, 0, -1))
    steps += "".join(f'<i class="p{step}"></i>' for step in range(1, STEPS + 1))
    return (
        f'<div class="legend"><span>{html.escape(down)}</span>{steps}<span>{html.escape(up)}</span>'
        "<span>each word as the unsteered model reads it</span></div>"
    )


def welcome(*, chat: bool, ready: bool) -> str:
    """Return what stands there before the first turn."""
    what = "Say something" if chat else "Begin a text"
    how = "the same model twice: as it is, and pushed along the directions whose sliders you move"
    more = "" if ready else " No ready direction fits this model: make one of your own, or load one from a file."
    return (
        f'<div class="welcome"><h2>{what}, and read two answers</h2><p>They come from {how}. Each word is coloured by '
        "how much it reads like the chosen direction, and below each answer stands whether it is still coherent."
        f"{more}</p></div>"
    )


def _turn(turn: Turn, place: Place | None, *, chat: bool) -> str:
    steered = f"steered: {turn.steering}" if turn.steering else "steered: every slider stands at 0"
    return (
        f'<article class="turn"><p class="said"><span class="who">{"You" if chat else "Text"}</span>'
        f"{html.escape(turn.said)}</p>"
        f'<div class="sides">{_side(turn.plain, "unsteered", "plain", place)}'
        f"{_side(turn.steered, steered, 'steered', place)}</div></article>"
    )


def _side(side: Side, title: str, kind: str, place: Place | None) -> str:
    words = tokens(side, place) or ('<span class="quiet">nothing was written</span>' if not side.under_way else "")
    caret = '<span class="caret" aria-label="writing"></span>' if side.under_way else ""
    return (
        f'<section class="side {kind}" aria-label="{html.escape(title)}"><h3>{html.escape(title)}</h3>'
        f'<div class="text">{words}{caret}</div><footer>{meter(side)}{_gates(side)}{_end(side)}</footer></section>'
    )


def tokens(side: Side, place: Place | None) -> str:
    """Return an answer's tokens as HTML, those that were read coloured by their projection, if it means something."""
    parts: list[str] = []
    for index, piece in enumerate(side.pieces):
        text = html.escape(piece)
        read = side.read[index] if index < len(side.read) else None
        if not text or read is None:
            parts.append(text)
            continue
        shade, title = "", f"log-probability {_number(read.logprob, '.2f')} nats"
        if place is not None and read.projection is not None:
            value = place(read.projection)
            shade, title = colour(value), f"projection {_number(value, '+.1f')} sd, {title}"
        parts.append(f'<span class="{("t " + shade).strip()}" title="{title}">{text}</span>')
    return "".join(parts)


def colour(value: float) -> str:
    """Return the class of a token's colour: `p1` to `p5` towards the direction, `n1` to `n5` away, else nothing.

    Args:
        value: standard deviations from an ordinary answer's words.
    """
    step = min(STEPS, int(abs(value) / FULL * STEPS + 0.5))
    return f"{'p' if value > 0 else 'n'}{step}" if step else ""


def meter(side: Side) -> str:
    """Return the coherence of an answer so far, as a bar and in words."""
    if len(side.read) < FEWEST:
        return '<span class="meter quiet">coherence: reading …</span>' if side.under_way else ""
    mean = mean_logprob(side.read)
    kind, word = coherence(side.text, mean)
    share = max(0.0, min(1.0, 1 - mean / WORST))
    floor = 1 - LIMITS.floor / WORST
    value = _number(mean, ".2f")
    return (
        f'<span class="meter {kind}" title="Mean log-probability per token under the unsteered model, nats; below '
        f'{_number(LIMITS.floor, ".1f")} a text has usually fallen apart"><span class="bar" aria-hidden="true">'
        f'<i style="width:{share:.0%}"></i><b style="left:{floor:.0%}"></b></span>'
        f"<span><strong>{word}</strong> {value} nats a token</span></span>"
    )


def coherence(text: str, mean: float) -> tuple[str, str]:
    """Return a class and a word for how coherent a text is, by the limits of `judges.coherence`.

    Args:
        text: what was written.
        mean: its mean log-probability per token under the unsteered model, nats.
    """
    if not mean >= LIMITS.floor:
        return "bad", "falling apart"
    if distinct_ngrams(text) < LIMITS.distinct:
        return "bad", "going in circles"
    return ("so", "drifting") if mean < DRIFTS * LIMITS.floor else ("good", "coherent")


def mean_logprob(read: Sequence[Read]) -> float:
    """Return the mean log-probability per token, nats."""
    return sum(each.logprob for each in read) / len(read)


def _gates(side: Side) -> str:
    return "".join(
        f'<span class="gate {"open" if fired else "shut"}">{html.escape(name)} gate '
        f"{'fired' if fired else 'did not fire'}</span>"
        for name, fired in side.gates.items()
    )


def _end(side: Side) -> str:
    return f'<span class="quiet">{ENDS[side.state]}</span>' if side.state in ENDS else ""


def _number(value: float, form: str) -> str:
    return f"{value:{form}}".replace("-", "−")
