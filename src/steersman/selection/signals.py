"""Signals: what can be measured of a completion, or of plain text under steering, without a judge.

Two questions, asked of another reader than the steered model where possible: is it still a text (likelihood on the
whole, likelihood of the least likely token, repetition, entropy), and does the behaviour show (how much likelier the
completion becomes once the reader is told what the text is about). None needs to know what steered.
"""

import math
from collections.abc import Mapping, Sequence

from steersman.engines import Engine
from steersman.errors import InputError
from steersman.judges.coherence import distinct_ngrams, repeated_ngrams
from steersman.model.score import Score
from steersman.plan import Plan

SIGNALS: dict[str, str] = {
    "logprob": "mean log-probability per token of the completion, nats",
    "min_logprob": "log-probability of the completion's least likely token, nats",
    "low_logprob": "mean log-probability of the least likely fifth of the completion's tokens, nats",
    "cross_entropy": "cross-entropy per token of the completion, nats",
    "perplexity": "perplexity of the completion",
    "entropy": "mean entropy of the next-token distribution along the completion, nats",
    "repetition": "share of the completion's token pairs that stood in it before",
    "distinct": "share of the completion's word triples that are distinct",
    "echo": "mean log-probability of every token of prompt and completion right behind itself, nats (one position off)",
    "contrast": "gain in log-probability per token of the completion once the reader is told the concept, nats",
    "concept": "gain in log-probability of the concept's words behind the completion over those words alone, nats",
    "enacted": "gain of the fifth of tokens that gain most once the reader is asked to enact the concept, nats",
}
"""Signals of a completion, with their units."""

TEXT_SIGNALS: dict[str, str] = {
    "text_cross_entropy": "cross-entropy per token of plain text under steering, nats",
    "text_kl": "KL(unsteered || steered) per token of plain text, nats",
}
"""Signals of steering itself, read on plain text."""

TOLD = "This text is about {concept}."
"""What the reader is told of the concept before the prompt, for `contrast`."""

ASKED = "\n\nThe text above is about"
"""What stands between a completion and the concept's words, for `concept`."""

ALONE = "\n"
"""What stands for a text without content, so that the concept's words have a context to be read in."""

ENACT = "Write a few words in the voice of someone{concept}."
"""What the reader is asked for, with the concept and without it, for `enacted`."""

OF_CONCEPT = ("contrast", "concept", "enacted")
"""Signals that need the concept in words."""

EMPTY = -20.0
"""Log-probability, nats, that stands for an empty completion: below anything that was ever written."""


def read_signals(
    evaluator: Engine,
    prompts: Sequence[str],
    completions: Sequence[str],
    names: Sequence[str],
    *,
    concept: str | None = None,
    plans: Plan | Sequence[Plan] | None = None,
    chat: bool = True,
) -> list[dict[str, float]]:
    """Return the named signals of every completion; an empty one gets the worst values, never none.

    So does one that cannot be read in numbers, as under a steered evaluator whose activations overflow.

    Args:
        evaluator: what reads, best an unsteered model; it may be another one than wrote.
        prompts: one per completion.
        completions: without the prompts.
        names: of `SIGNALS`.
        concept: what the text should be about, in words, such as `wedding ceremonies`; for `contrast` and `concept`.
        plans: under which the evaluator reads; unsteered where not given.
        chat: `False` reads prompts as plain text also where the evaluator has a chat template.

    Raises:
        InputError: for a signal that is not known, or one of the concept without a concept.
    """
    unknown = [name for name in names if name not in SIGNALS]
    if unknown:
        raise InputError(f"expected signals among {', '.join(SIGNALS)}, got {unknown[0]!r}")
    if not (concept or "").strip() and (wanting := [name for name in names if name in OF_CONCEPT]):
        raise InputError(f"expected a concept in words for the signal {wanting[0]}, got none")
    # Every text is read once: greedy completions of neighbouring coefficients are often the same.
    steps: list[Plan] = [plans or Plan()] * len(prompts) if isinstance(plans, Plan) or plans is None else list(plans)
    rows = [(prompt, text, plan.digest(), plan) for prompt, text, plan in zip(prompts, completions, steps, strict=True)]
    distinct = {row[:3]: row for row in rows if row[1].strip()}
    read = _read(evaluator, list(distinct.values()), names, concept, chat)
    values = dict(zip(distinct, read, strict=True))
    return [dict(values[row[:3]]) if row[:3] in values else {name: _worst(name) for name in names} for row in rows]


def read_text_signals(model: Engine, texts: Sequence[str], plans: Sequence[Plan]) -> list[dict[str, float]]:
    """Return `TEXT_SIGNALS` of every plan, means over the texts' tokens; 20 nats where they are not numbers.

    Args:
        model: the model that is steered.
        texts: plain texts of at least two tokens each.
        plans: what it is put under.
    """
    found: list[dict[str, float]] = []
    steps = [plan for plan in plans for _ in texts]
    read = model.score("", list(texts) * len(plans), steps, divergence=True) if steps else []
    for start in range(0, len(read), len(texts)):
        scores = read[start : start + len(texts)]
        count = sum(len(score.tokens) for score in scores)
        means = {
            "text_cross_entropy": -sum(score.total for score in scores) / count,
            "text_kl": sum(sum(score.divergence) for score in scores) / count,
        }
        found.append({name: _finite(name, value) for name, value in means.items()})
    return found


def average(signals: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each signal over completions.

    Raises:
        InputError: for no completion, or completions whose signals differ.
    """
    if not signals or any(set(each) != set(signals[0]) for each in signals):
        raise InputError("expected completions with the same signals, got none or different ones")
    return {name: sum(each[name] for each in signals) / len(signals) for name in signals[0]}


def _read(
    evaluator: Engine,
    rows: Sequence[tuple[str, str, str, Plan]],
    names: Sequence[str],
    concept: str | None,
    chat: bool,
) -> list[dict[str, float]]:
    if not rows:
        return []
    prompts, texts, plans = [row[0] for row in rows], [row[1] for row in rows], [row[3] for row in rows]
    scores = evaluator.score(prompts, texts, plans, chat=chat, entropy="entropy" in names, echo="echo" in names)
    found = [_values(text, score) for text, score in zip(texts, scores, strict=True)]
    if "contrast" in names:
        sentence = TOLD.format(concept=concept)
        told = evaluator.score(prompts, texts, plans, system=sentence, chat=chat)
        for values, score, other in zip(found, scores, told, strict=True):
            values["contrast"] = other.mean - score.mean
    if "concept" in names:
        words = [f" {concept}"] * (len(texts) + 1)
        # Without the prompt, which is the same for all and may speak of the concept itself.
        heads = [f"{text}{ASKED}" for text in (*texts, ALONE)]
        *behind, alone = evaluator.score(heads, words, [*plans, Plan()], chat=False)
        for values, score in zip(found, behind, strict=True):
            values["concept"] = score.total - alone.total
    if "enacted" in names:
        # Without the prompt as well; as an answer, which a chat model can tell from a text that goes on.
        asked, neutral = (evaluator.score(ENACT.format(concept=what), texts, plans) for what in (f": {concept}", ""))
        for values, one, other in zip(found, asked, neutral, strict=True):
            gains = [a - b for a, b in zip(one.tokens, other.tokens, strict=True)]
            values["enacted"] = -_lowest([-gain for gain in gains])
    return [{name: _finite(name, values[name]) for name in names} for values in found]


def _values(text: str, score: Score) -> dict[str, float]:
    values = {
        "logprob": score.mean,
        "min_logprob": score.minimum,
        "low_logprob": _lowest(score.tokens),
        "cross_entropy": -score.mean,
        "perplexity": math.exp(-score.mean),
        "repetition": repeated_ngrams(score.ids),
        "distinct": distinct_ngrams(text),
    }
    if score.entropy:
        values["entropy"] = sum(score.entropy) / len(score.entropy)
    if score.echo:
        values["echo"] = sum(score.echo) / len(score.echo)
    return values


def _lowest(values: Sequence[float]) -> float:
    """Return the mean of the lowest fifth, of at least one value."""
    if any(math.isnan(value) for value in values):
        return math.nan  # has no place in an order
    count = max(1, len(values) // 5)
    return sum(sorted(values)[:count]) / count


def _finite(name: str, value: float) -> float:
    # What is not a number passes every limit and is no JSON: a model steered out of its numbers has to ring instead.
    return value if math.isfinite(value) else _worst(name)


def _worst(name: str) -> float:
    """Return the value of an empty completion: unlikely, all repetition, without the behaviour."""
    worst = {
        "cross_entropy": -EMPTY,
        "perplexity": math.exp(-EMPTY),
        "entropy": -EMPTY,
        "repetition": 1.0,
        "distinct": 0.0,
        "echo": 0.0,
        "contrast": 0.0,
        **dict.fromkeys(TEXT_SIGNALS, -EMPTY),
    }
    return worst.get(name, EMPTY)
