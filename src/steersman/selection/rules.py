"""Rules that choose a coefficient from a curve: a threshold on one signal, a mark of coherence, or a product of two.

A threshold rule walks from 0 upwards and stops where a signal has left its unsteered value by so much: that point is
the alarm, and a stated share of it, or the last trial before it, is what to use. The published selection is one of
these, with nothing held back. A product rule reads every completion twice, for coherence and for the behaviour, and
takes the coefficient where the product is largest; the rule of coherence alone takes the last one before it is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from steersman.errors import InputError
from steersman.selection.curve import Curve, Pick, Rule
from steersman.selection.mark import COHERENCE, Mark, first_broken, smooth


@final
@dataclass(frozen=True)
class Threshold:
    """Stops where a signal has moved too far from its unsteered value.

    Args:
        name: as tables and options say it.
        signal: what it reads.
        worse: which way the signal goes when coherence is lost: `up`, `down` or `both`.
        change: how far is too far, above 0: in the signal's unit, or as a share of the unsteered value's size.
        relative: whether `change` is such a share.
        window: so many trials in a row must be too far, at least 1; the first of them is the alarm.
        back_off: what is recommended: a share of the alarm, from above 0 to 1, or `before`, the last trial before it.
        source: where the rule comes from.

    Raises:
        InputError: for values out of range.
    """

    name: str
    signal: str
    worse: Literal["up", "down", "both"]
    change: float
    relative: bool = False
    window: int = 1
    back_off: float | Literal["before"] = "before"
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse what can never stop, or always does."""
        if not self.change > 0:
            raise InputError(f"expected a change above 0 for the rule {self.name}, got {self.change}")
        if self.window < 1:
            raise InputError(f"expected a window of at least 1 trial for the rule {self.name}, got {self.window}")
        if self.back_off != "before" and not 0 < self.back_off <= 1:
            raise InputError(f"expected a share of the alarm above 0 and up to 1, or 'before', got {self.back_off}")

    @property
    def signals(self) -> tuple[str, ...]:
        """The one it reads."""
        return (self.signal,)

    def limits(self, unsteered: float) -> tuple[float | None, float | None]:
        """Return the signal's least and largest allowed value, None where there is none, given its unsteered one."""
        reach = self.change * abs(unsteered) if self.relative else self.change
        return (
            None if self.worse == "up" else unsteered - reach,
            None if self.worse == "down" else unsteered + reach,
        )

    def pick(self, curve: Curve) -> Pick:
        """Return the alarm and what lies before it."""
        values, coefficients = curve.values(self.signal), curve.coefficients
        low, high = self.limits(values[0])
        # Written so that what is not a number is bad too.
        bad = [not ((low is None or value >= low) and (high is None or value <= high)) for value in values]
        found = next(
            (i for i in range(1, len(bad)) if all(bad[i : i + self.window]) and i + self.window <= len(bad)), None
        )
        tried = coefficients[-1]
        limit = " or ".join(
            f"{word} {edge:.3g}" for word, edge in (("below", low), ("above", high)) if edge is not None
        )
        if found is None:
            reason = f"no alarm found up to {tried:g}: {self.signal} never went {limit} (unsteered {values[0]:.3g})"
            return Pick("no alarm", tried, None, None, tried, reason)
        alarm = coefficients[found]
        went = f"{self.signal} went {limit} at {alarm:g} ({values[found]:.3g}; unsteered {values[0]:.3g})"
        if self.back_off == "before":
            if found == 1:
                return Pick("never coherent", None, None, alarm, tried, f"{went}, the first coefficient that was tried")
            return Pick("found", coefficients[found - 1], None, alarm, tried, f"{went}; the one before it is taken")
        share = "" if self.back_off == 1 else f"; {self.back_off:g} of it is taken"
        return Pick("found", alarm * self.back_off, None, alarm, tried, went + share)


@final
@dataclass(frozen=True)
class Product:
    """Takes the coefficient with the largest product of coherence and behaviour.

    Coherence is a reading of each trial, 1 to 10. Behaviour is where a signal stands between its unsteered value and
    the largest value that a coherent trial reaches, 0.1 to 1 (the mean of several): what is asked is which of these
    coefficients shows it most, and a signal's unit drops out. Neighbours are averaged in, since one completion says
    little, and a lucky one between two broken ones is no setting to recommend.

    Args:
        name: as tables and options say it.
        behaviour: the signals that say how much the behaviour shows, at least one.
        coherence: how coherence is read.
        least: coherence, 1 to 10, below which a trial counts as broken.
        neighbours: so many trials on either side count, with weights falling to zero behind them; 0 for none. Counted
            in mean distances between the curve's coefficients, where these are uneven.
        source: where the rule comes from.

    The alarm is the first broken trial (`first_broken`). Nothing from the alarm on is recommended. The onset is the
    first trial whose behaviour is halfway.
    """

    name: str
    behaviour: tuple[str, ...]
    coherence: Mark = COHERENCE
    least: float = 5.0
    neighbours: int = 1
    source: str = ""

    FLOOR = 0.1

    def __post_init__(self) -> None:
        """Refuse what would recommend at random."""
        if not self.behaviour:
            raise InputError(f"expected at least one signal of the behaviour for the rule {self.name}, got none")
        if self.neighbours < 0:
            raise InputError(f"expected neighbours from 0 up for the rule {self.name}, got {self.neighbours}")

    @property
    def signals(self) -> tuple[str, ...]:
        """What coherence and behaviour are read from."""
        return (*self.coherence.weights, *self.behaviour)

    def pick(self, curve: Curve) -> Pick:
        """Return the coefficient with the largest product, below the alarm."""
        marks = self.coherence.along(curve)
        each = [self._shown(curve.values(name), marks) for name in self.behaviour]
        shown = [sum(values) / len(each) for values in zip(*each, strict=True)]
        coefficients, tried = curve.coefficients, curve.coefficients[-1]
        products = smooth(coefficients, [a * b for a, b in zip(marks, shown, strict=True)], self.neighbours)
        first = first_broken(coefficients, marks, self.least, self.neighbours)
        alarm = None if first is None else coefficients[first]
        usable = range(1, len(coefficients) if first is None else first)
        said = "no alarm found" if alarm is None else f"coherence lost at {alarm:g}"
        if not usable:
            return Pick("never coherent", None, None, alarm, tried, f"{said}, the first coefficient that was tried")
        if max(shown[i] for i in usable) <= self.FLOOR:
            reason = f"{said} (tried up to {tried:g}), and {' and '.join(self.behaviour)} never rose before it"
            return Pick("no effect", None, None, alarm, tried, reason)
        best = max(usable, key=lambda i: (products[i], -i))
        half = (self.FLOOR + 1) / 2
        onset = next((coefficients[i] for i in usable if shown[i] >= half), None)
        reason = (
            f"{coefficients[best]:g}: coherence read as {marks[best]:.1f} of 10, behaviour at {shown[best]:.0%} of the "
            f"most that coherent text showed; {said} (tried up to {tried:g})"
        )
        return Pick("no alarm" if alarm is None else "found", coefficients[best], onset, alarm, tried, reason)

    def _shown(self, values: Sequence[float], marks: Sequence[float]) -> list[float]:
        whole = [value for value, mark in zip(values, marks, strict=True) if mark >= self.least] or list(values)
        reach = max(whole) - values[0]
        if reach <= 0:
            return [self.FLOOR] * len(values)
        return [self.FLOOR + (1 - self.FLOOR) * min(max((v - values[0]) / reach, 0.0), 1.0) for v in values]


@final
@dataclass(frozen=True)
class Coherent:
    """Takes the strongest coefficient up to which text stays whole; what that brings and costs, others measure.

    Args:
        name: as tables and options say it.
        coherence: how coherence is read.
        whole: coherence, 1 to 10, that text must keep up to the recommended coefficient.
        least: coherence below which a trial counts as broken, at most `whole`.
        neighbours: so many trials on either side are averaged in, as in `Product`.
        source: where the rule comes from.

    The alarm is the first broken trial, the recommendation the trial before the first that is not whole (both as
    `first_broken` counts).

    Raises:
        InputError: for values out of range.
    """

    name: str
    coherence: Mark = COHERENCE
    whole: float = 8.0
    least: float = 5.0
    neighbours: int = 1
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse what would recommend broken text."""
        if not self.least <= self.whole:
            raise InputError(
                f"expected the rule {self.name} to ask more of whole text than of text that is not broken, got "
                f"{self.whole:g} and {self.least:g}"
            )
        if self.neighbours < 0:
            raise InputError(f"expected neighbours from 0 up for the rule {self.name}, got {self.neighbours}")

    @property
    def signals(self) -> tuple[str, ...]:
        """What coherence is read from."""
        return tuple(self.coherence.weights)

    def pick(self, curve: Curve) -> Pick:
        """Return the alarm, and the last trial up to which text is whole."""
        marks = self.coherence.along(curve)
        coefficients, tried = curve.coefficients, curve.coefficients[-1]
        broken, worn = (first_broken(coefficients, marks, mark, self.neighbours) for mark in (self.least, self.whole))
        alarm = None if broken is None else coefficients[broken]
        said = "no alarm found" if alarm is None else f"coherence lost at {alarm:g}"
        if worn == 1:
            reason = f"{said}, and read below {self.whole:g} of 10 from the first coefficient on ({coefficients[1]:g})"
            return Pick("never coherent", None, None, alarm, tried, reason)
        best = len(marks) - 1 if worn is None else worn - 1
        reason = f"{coefficients[best]:g}: coherence read as {marks[best]:.1f} of 10"
        if worn is not None:
            reason += f", below {self.whole:g} from {coefficients[worn]:g} on"
        status = "no alarm" if alarm is None else "found"
        return Pick(status, coefficients[best], None, alarm, tried, f"{reason}; {said} (tried up to {tried:g})")


ALERT = (
    "the coefficient selection of mloef/steering-research: the first coefficient whose metric is 20 % above baseline"
)

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Threshold("alert-published", "echo", "up", 0.2, relative=True, back_off=1.0, source=ALERT),
        Threshold("alert-published-0.6", "echo", "up", 0.2, relative=True, back_off=0.6, source=ALERT),
        Threshold("alert", "logprob", "down", 1.25),
        Threshold("cross-entropy", "cross_entropy", "up", 1.25),
        Threshold("perplexity", "perplexity", "up", 2.5, relative=True),
        Threshold("entropy", "entropy", "both", 0.5, relative=True),
        Threshold("repetition", "repetition", "up", 0.3),
        Threshold("lowest-token", "min_logprob", "down", 3.0),
        Threshold("single-token", "text_cross_entropy", "up", 1.0, source="after Chalnev et al. (2024), SAE-TS"),
        Threshold("kl", "text_kl", "up", 0.5),
        Coherent("coherence"),
        Product("default", ("concept", "enacted")),
    )
}
"""By name. Those that read `text_cross_entropy` or `text_kl` need the steered model, the others completions alone."""


def rule_named(name: str) -> Rule:
    """Return the rule of a name.

    Raises:
        InputError: for a name that none has.
    """
    if name not in RULES:
        raise InputError(f"expected a rule among {', '.join(RULES)}, got {name!r}")
    return RULES[name]
