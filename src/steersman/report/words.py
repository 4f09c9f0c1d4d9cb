"""The words of the report: what arms and units are called, and how a number is written.

Rates are kept as fractions of 1 everywhere in the package and become percentages only here. Numbers are written with
a true minus sign and ranges with an en dash; `plain` turns both into ASCII for Markdown files.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from steersman.report.metrics import Metric
from steersman.tasks.task import ARM_WORDS

MINUS: Final = "\u2212"
DASH: Final = "\u2013"

ARMS: Final[Mapping[str, str]] = ARM_WORDS
UNSTEERED: Final = frozenset({"unsteered", "prompt"})
"""Arms that have neither a site nor a coefficient."""
UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "norm": "fraction of the mean residual norm at the site",
        "raw": "multiples of the raw vector",
        "plan": "multiples of the plan's own coefficients",
    }
)


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
    if not metric.percent:
        return 2
    if metric.kind == "share":
        return 1  # a mean of shares, not a count of items
    return 1 if n is not None and n >= 200 else 0  # one item in 60 is 1.7 points: decimals would be invented


def amount(metric: Metric, value: float | None, n: int | None) -> str:
    """A value in its unit, as "47 %" or "3.41"; a dash where there is none."""
    if value is None:
        return DASH
    if metric.percent:
        return f"{number(100 * value, _digits(metric, n))} %"
    return number(value, _digits(metric, n))


def interval(metric: Metric, low: float | None, high: float | None, n: int | None) -> str:
    """An interval without its unit, as "35–59" or "−1.30 to −1.10"; empty where there is none."""
    if low is None or high is None:
        return ""
    scale = 100 if metric.percent else 1
    first, second = (number(scale * end, _digits(metric, n)) for end in (low, high))
    return f"{first} to {second}" if MINUS in first + second else f"{first}{DASH}{second}"


def change(metric: Metric, value: float | None, *, unit: bool = True) -> str:
    """A difference in its unit, as "−1.2 points" or "+0.31 nats"; a dash where there is none."""
    if value is None:
        return DASH
    if metric.percent:
        return signed(100 * value, 1) + (" points" if unit else "")
    return signed(value, 2) + (" nats" if unit and metric.kind == "nats" else "")


def change_interval(metric: Metric, low: float | None, high: float | None) -> str:
    """The interval of a difference, as "−4.0 to +1.5"; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"{change(metric, low, unit=False)} to {change(metric, high, unit=False)}"


def probability(value: float | None) -> str:
    """A p-value as people write it: 0.23, 0.004, < 0.001; empty where there is none."""
    if value is None:
        return ""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def slug(*parts: str) -> str:
    """Names joined into one that is safe as a file name and as an id on the page, whatever they hold."""
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") or "unnamed" for part in parts)


def plain(text: str) -> str:
    """The same text with ASCII minus signs and hyphens, for Markdown and terminals."""
    return text.replace(MINUS, "-").replace(DASH, "-")
