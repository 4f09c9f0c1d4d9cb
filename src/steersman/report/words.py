"""The words of the report: what each measurement is called, its unit, and how a number is written.

Rates are kept as fractions of 1 everywhere in the package and become percentages only here. Numbers are written with
a true minus sign and ranges with an en dash; `plain` turns both into ASCII for Markdown files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

MINUS: Final = "\u2212"
DASH: Final = "\u2013"

Kind = Literal["rate", "nats", "number"]


@dataclass(frozen=True)
class Metric:
    """One thing that was measured: its key, its names, its unit and what it means.

    Attributes:
        task: Task as it stands in `results.json`.
        name: Metric as it stands in `results.json`.
        label: Name on the page, unit left out.
        axis: Axis label, with the unit.
        kind: "rate" (0 to 1, shown in percent), "nats" (nats per token) or "number" (no known unit).
        better: Which way is good for a model that should stay useful; empty where it depends on the prompt.
        meaning: Definition in a sentence.
    """

    task: str
    name: str
    label: str
    axis: str
    kind: Kind
    better: Literal["higher", "lower", ""] = ""
    meaning: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Task and metric, the key of a group of rows."""
        return self.task, self.name


def _disclaimers(task: str, what: str, better: Literal["higher", "lower", ""]) -> Metric:
    meaning = (
        f"Share of {what} answered by claiming to lack a capability (“as a chatbot, I don’t have the ability”) without "
        "declining. Not counted as refusals; not helpful either."
    )
    return Metric(task, "disclaimer_rate", f"Disclaimed: {what}", "disclaimers (%)", "rate", better, meaning)


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

ARMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unsteered": "unsteered",
        "steered": "steered",
        "random": "random direction",
        "prompt": "system prompt",
    }
)
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "norm": "fraction of the mean residual norm at the site",
        "raw": "multiples of the raw vector",
    }
)


def metric_for(task: str, name: str) -> Metric:
    """The registered metric, or a plain description of one this version does not know."""
    known = METRICS.get((task, name))
    if known is not None:
        return known
    words = name.replace("_", " ")
    rate = name.endswith("_rate") or name.startswith("accuracy")
    axis = f"{words} (%)" if rate else f"{words} (unit not stated)"
    return Metric(task, name, f"{words.capitalize()}: {task}", axis, "rate" if rate else "number")


def number(value: float, digits: int) -> str:
    """A number with a true minus sign; what rounds to zero carries no sign."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """A number that always shows its sign, unless it rounds to zero."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def coefficient(value: float | None) -> str:
    """A coefficient as short as it can be written: 0.35, −2, 1.5; a dash where there is none."""
    return DASH if value is None else f"{value:g}".replace("-", MINUS)


def _digits(metric: Metric, n: int | None) -> int:
    if metric.kind != "rate":
        return 2
    return 1 if n is not None and n >= 200 else 0  # one item in 60 is 1.7 points: decimals would be invented


def amount(metric: Metric, value: float | None, n: int | None) -> str:
    """A value in its unit, as "47 %" or "3.41"; a dash where there is none."""
    if value is None:
        return DASH
    if metric.kind == "rate":
        return f"{number(100 * value, _digits(metric, n))} %"
    return number(value, _digits(metric, n))


def interval(metric: Metric, low: float | None, high: float | None, n: int | None) -> str:
    """An interval without its unit, as "35–59" or "−1.30 to −1.10"; empty where there is none."""
    if low is None or high is None:
        return ""
    scale = 100 if metric.kind == "rate" else 1
    first, second = (number(scale * end, _digits(metric, n)) for end in (low, high))
    return f"{first} to {second}" if MINUS in first + second else f"{first}{DASH}{second}"


def change(metric: Metric, value: float | None, *, unit: bool = True) -> str:
    """A difference in its unit, as "−1.2 points" or "+0.31 nats"; a dash where there is none."""
    if value is None:
        return DASH
    if metric.kind == "rate":
        return signed(100 * value, 1) + (" points" if unit else "")
    return signed(value, 2) + (" nats" if unit and metric.kind == "nats" else "")


def change_interval(metric: Metric, low: float | None, high: float | None) -> str:
    """The interval of a difference, as "−4.0 to +1.5"; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"{change(metric, low, unit=False)} to {change(metric, high, unit=False)}"


def resolvable(n: int) -> float:
    """The smallest difference between two rates that `n` items resolve, as a fraction of 1.

    Half the width of the 95 % interval for the difference of two independent rates in the worst case, both near one
    half: 1.96 sqrt(2 * 0.5 * 0.5 / n). Differences on the same items are paired and usually resolve less than this.
    """
    return 1.96 * math.sqrt(0.5 / n)


def slug(*parts: str) -> str:
    """Names joined into one that is safe as a file name and as an id on the page, whatever they hold."""
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") or "unnamed" for part in parts)


def plain(text: str) -> str:
    """The same text with ASCII minus signs and hyphens, for Markdown and terminals."""
    return text.replace(MINUS, "-").replace(DASH, "-")
