"""What each measurement is called on the page, its unit, and which way is good.

A task and metric of the refusal study have names of their own; every other metric is known by its own name whatever the
task, and one that nobody has named is still shown plainly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["rate", "share", "nats", "number"]


@dataclass(frozen=True)
class Metric:
    """One thing that was measured: its key, its names, its unit and what it means.

    Attributes:
        task: Task as it stands in `results.json`.
        name: Metric as it stands in `results.json`.
        label: Name on the page, unit left out.
        axis: Axis label, with the unit.
        kind: "rate" (0 or 1 an item, shown in percent), "share" (0 to 1 an item, shown in percent too), "nats" (nats
            per token) or "number" (its unit, where it has one, stands in `unit`).
        better: Which way is good for a model that should stay useful; empty where it depends on the prompt.
        meaning: Definition in a sentence.
        unit: Of a number.
    """

    task: str
    name: str
    label: str
    axis: str
    kind: Kind
    better: Literal["higher", "lower", ""] = ""
    meaning: str = ""
    unit: str = ""

    @property
    def percent(self) -> bool:
        """Whether it is a fraction of 1 that is shown in percent."""
        return self.kind in {"rate", "share"}

    @property
    def key(self) -> tuple[str, str]:
        """Task and metric, the key of a group of rows."""
        return self.task, self.name

    @property
    def detail(self) -> bool:
        """Whether it is one of several measures of coherence beside a task's own question."""
        return self.name in _DETAILS and self.task != "coherence"


_DETAILS = {"completion_min_logprob", "repetition", "distinct_1", "distinct_2", "distinct_3"}


def _disclaimers(task: str, what: str, better: Literal["higher", "lower", ""]) -> Metric:
    meaning = (
        f"Share of {what} answered by claiming to lack a capability (“as a chatbot, I don’t have the ability”) without "
        "declining. Not counted as refusals; not helpful either."
    )
    return Metric(task, "disclaimer_rate", f"Disclaimed: {what}", "disclaimers (%)", "rate", better, meaning)


def _firm(task: str, what: str, better: Literal["higher", "lower", ""]) -> Metric:
    meaning = (
        f"Share of {what} refused without an offer that takes the refusal back (“but I can give you a few steps”), "
        "anywhere in the completion. A lower bound: an offer to do something harmless is counted against it as well."
    )
    return Metric(task, "firm_refusal_rate", f"Firmly refused: {what}", "firm refusals (%)", "rate", better, meaning)


_REFUSED = "Share of completions that the refusal judge marks as a refusal"
_METRICS: Final = (
    Metric(
        "refusal",
        "refusal_rate",
        "Refused: harmful prompts",
        "harmful prompts refused (%)",
        "rate",
        "",
        f"{_REFUSED}, on the held-out harmful prompts. Raising it is what the refusal direction is for.",
    ),
    Metric(
        "helpfulness",
        "refusal_rate",
        "Refused: ordinary prompts",
        "ordinary prompts refused (%)",
        "rate",
        "lower",
        f"{_REFUSED}, on ordinary prompts: a cost.",
    ),
    Metric(
        "over-refusal",
        "refusal_rate",
        "Refused: safe, harmful-looking prompts",
        "safe prompts refused (%)",
        "rate",
        "lower",
        f"{_REFUSED}, on safe prompts that look harmful: over-refusal, a cost.",
    ),
    _firm("refusal", "harmful prompts", ""),
    _firm("helpfulness", "ordinary prompts", "lower"),
    _firm("over-refusal", "safe, harmful-looking prompts", "lower"),
    _disclaimers("refusal", "harmful prompts", ""),
    _disclaimers("helpfulness", "ordinary prompts", "lower"),
    _disclaimers("over-refusal", "safe, harmful-looking prompts", "lower"),
    Metric(
        "helpfulness",
        "helpful_rate",
        "Helpful: ordinary prompts",
        "helpful answers (%)",
        "rate",
        "higher",
        "Share of ordinary prompts that were answered (not refused, not disclaimed), on topic and coherently, by a "
        "local measure whose thresholds stand in the configuration.",
    ),
    Metric(
        "knowledge",
        "accuracy_text",
        "Knowledge: answer text",
        "right answers (%)",
        "rate",
        "higher",
        "Share of multiple-choice questions whose right answer has the highest length-normalised log-probability as "
        "text. Guessing among four options scores 25 %.",
    ),
    Metric(
        "knowledge",
        "accuracy_letter",
        "Knowledge: answer letter",
        "right answers (%)",
        "rate",
        "higher",
        "Share of the same questions whose right letter is the most probable letter. Small models often cannot do "
        "this at all; guessing among four options scores 25 %.",
    ),
    Metric(
        "fluency",
        "cross_entropy",
        "Cross-entropy: plain text",
        "nats per token",
        "nats",
        "lower",
        "Mean negative log-probability per token that the model, steered or not, gives to fixed plain text.",
    ),
    Metric(
        "refusal",
        "completion_logprob",
        "Completion log-probability: harmful",
        "nats per token",
        "nats",
        "higher",
        "Mean log-probability per token of the completions to harmful prompts under the unsteered model; a steep "
        "fall means that the text has stopped being the model's own language.",
    ),
    Metric(
        "helpfulness",
        "completion_logprob",
        "Completion log-probability: ordinary",
        "nats per token",
        "nats",
        "higher",
        "The same on the completions to ordinary prompts.",
    ),
    Metric(
        "honesty",
        "truthful_rate",
        "Truthful, steered by the honesty direction",
        "truthful answers (%)",
        "rate",
        "higher",
        "Share of the honesty items on which the truthful answer is likelier than the flattering one. Steered, here, "
        "by the honesty direction at its own layer.",
    ),
    Metric(
        "honesty",
        "truthful_margin",
        "Truthful margin, honesty direction",
        "nats per token",
        "nats",
        "higher",
        "Log-probability per token of the truthful answer less that of the flattering one, mean over the same items.",
    ),
    Metric(
        "over-refusal",
        "completion_logprob",
        "Completion log-probability: safe",
        "nats per token",
        "nats",
        "higher",
        "The same on the completions to safe prompts that look harmful.",
    ),
)
METRICS: Final[Mapping[tuple[str, str], Metric]] = MappingProxyType({metric.key: metric for metric in _METRICS})


def _named(
    name: str, label: str, axis: str, kind: Kind, better: Literal["higher", "lower", ""], meaning: str, unit: str = ""
) -> tuple[str, Metric]:
    return name, Metric("", name, label, axis, kind, better, meaning, unit)


_FOLLOWED = "matching answers (%)"
_NAMES: Final[Mapping[str, Metric]] = MappingProxyType(
    dict(
        [
            _named("refusal_rate", "Refused", "refused (%)", "rate", "", f"{_REFUSED}."),
            _named(
                "empty_rate", "Answered by nothing", "empty completions (%)", "rate", "lower",
                "Share of prompts to which the model said nothing at all.",
            ),
            _named(
                "matching_logprob", "Matching by log-probability", _FOLLOWED, "rate", "higher",
                "Share of items whose answer that matches the behaviour is likelier than the other; two options, so "
                "guessing scores 50 %.",
            ),
            _named(
                "matching_log_odds", "Matching log-odds", "nats", "nats", "higher",
                "Log-probability of the matching answer less that of the other, in nats, mean over items.",
            ),
            _named(
                "matching_token", "Matching by the next token", _FOLLOWED, "rate", "higher",
                "Share of items whose next token, generated greedily, is the matching answer; read it beside the "
                "faulty rate.",
            ),
            _named(
                "faulty_rate", "Faulty answers", "neither answer (%)", "rate", "lower",
                "Share of items whose next token is neither of the two answers.",
            ),
            _named(
                "matching_text", "Matching by the options' text", _FOLLOWED, "rate", "higher",
                "Share of items whose matching option is likelier in its own words, per token, with no letters in "
                "sight.",
            ),
            _named(
                "matching_text_margin", "Matching margin, in words", "nats per token", "nats", "higher",
                "Log-probability per token of the matching option less that of the other, in their own words.",
            ),
            _named(
                "top1_accuracy", "Next token right", "tokens that are the likeliest (%)", "share", "higher",
                "Share of a text's tokens that the model holds for the likeliest.",
            ),
            _named(
                "top10_accuracy", "Next token among ten", "tokens among the 10 likeliest (%)", "share", "higher",
                "Share of a text's tokens that are among the model's ten likeliest.",
            ),
            _named(
                "cross_entropy", "Cross-entropy", "nats per token", "nats", "lower",
                "Mean negative log-probability per token that the model, steered or not, gives to fixed text.",
            ),
            _named(
                "flip_rate", "Answer flipped by an opinion", "answers flipped (%)", "rate", "lower",
                "Share of questions whose answer changes once the user states an opinion: sycophancy.",
            ),
            _named(
                "follows_rate", "Follows the opinion", "answers as the user thinks (%)", "rate", "lower",
                "Share of questions answered as the stated opinion has it.",
            ),
            _named(
                "opinion_shift", "Shift towards the opinion", "nats", "nats", "lower",
                "How far a stated opinion moves the log-odds of the answer it favours, in nats.",
            ),
            _named(
                "truthful_rate", "Truthful", "truthful answers (%)", "rate", "higher",
                "Share of items on which the truthful answer is likelier than the flattering one.",
            ),
            _named(
                "truthful_margin", "Truthful margin", "nats per token", "nats", "higher",
                "Log-probability per token of the truthful answer less that of the flattering one.",
            ),
            _named(
                "completion_logprob", "Completion log-probability", "nats per token", "nats", "higher",
                "Mean log-probability per token of the completions under the unsteered model; a steep fall means that "
                "the text has stopped being the model's own language.",
            ),
            _named(
                "completion_min_logprob", "Least likely token", "nats", "nats", "higher",
                "Log-probability under the unsteered model of a completion's least likely token; mean over texts.",
            ),
            _named(
                "repetition", "Repetition", "repeated token pairs (%)", "share", "lower",
                "Share of a completion's token pairs that stood in it before.",
            ),
            _named(
                "distinct_1", "Distinct words", "distinct words (%)", "share", "higher",
                "Share of a completion's words that are distinct.",
            ),
            _named(
                "distinct_2", "Distinct word pairs", "distinct word pairs (%)", "share", "higher",
                "Share of a completion's word pairs that are distinct.",
            ),
            _named(
                "distinct_3", "Distinct word triples", "distinct word triples (%)", "share", "higher",
                "Share of a completion's word triples that are distinct.",
            ),
            _named(
                "drift", "Drift", "nats per token", "nats", "lower",
                "KL divergence per token of the steered from the unsteered model on plain text: what steering changes "
                "where nobody asked for it.",
            ),
            _named(
                "kl", "Drift", "nats per token", "nats", "lower",
                "KL divergence per token of the steered from the unsteered model on plain text.",
            ),
            _named(
                "drift_max", "Largest drift", "nats", "nats", "lower",
                "KL divergence at the token of a text where it is largest, mean over texts.",
            ),
            _named(
                "accuracy_letter", "Right answers, by letter", "right answers (%)", "rate", "higher",
                "Share of questions whose right letter is the most probable letter.",
            ),
            _named(
                "accuracy_text", "Right answers, by text", "right answers (%)", "rate", "higher",
                "Share of questions whose right answer has the highest log-probability per token as text.",
            ),
        ]
    )
)  # fmt: skip
_JUDGED: Final[Mapping[str, tuple[str, Kind, str]]] = MappingProxyType(
    {
        "refusal": ("Refused", "rate", "refused (%)"),
        "behaviour": ("Behaviour, 1 to 10", "number", "score, 1 to 10"),
        "coherence": ("Coherence, 1 to 10", "number", "score, 1 to 10"),
        "product": ("Behaviour times coherence, 1 to 100", "number", "product, 1 to 100"),
        "score": ("Score", "number", "score"),
    }
)
"""What judges add as WHAT_by_JUDGE."""


def metric_for(task: str, name: str) -> Metric:
    """The metric as this task measures it, or a plain description of one this version does not know."""
    known = METRICS.get((task, name))
    if known is not None:
        return known
    if name in _NAMES:
        found = _NAMES[name]
        label = found.label if found.label.lower() == task.lower() else f"{found.label} ({task})"
        return replace(found, task=task, label=label)
    what, by, judge = name.partition("_by_")
    if by and judge:
        words, kind, axis = _JUDGED.get(what.removesuffix("_rate"), (_plain(what), "number", "unit not stated"))
        label = f"{words}, judged by {judge.replace('_', ' ')} ({task})"
        meaning = f"What the judge {judge!r} says of the completions; items it left unscored are not counted."
        return Metric(task, name, label, axis, kind, "", meaning, "" if kind == "rate" else axis)
    rate = name.endswith(("_rate", "_accuracy")) or name.startswith("accuracy")
    axis = f"{_plain(name).lower()} ({'%' if rate else 'unit not stated'})"
    return Metric(task, name, f"{_plain(name)} ({task})", axis, "rate" if rate else "number", unit="unit not stated")


def _plain(name: str) -> str:
    return re.sub(r"[_\s]+", " ", name).strip().capitalize()
