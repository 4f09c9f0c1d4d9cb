"""How a vector stands against what is cheaper: a system prompt, and a vector that means nothing.

The sentences are computed from paired differences on the same items, and say "cannot be told apart" where the intervals
hold zero. They are honest about one steered setting that was named beforehand; of a setting chosen as the best of many
on these very items they flatter the vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from steersman.errors import InputError
from steersman.maths.significance import sign_flip
from steersman.maths.statistics import LEVEL, Estimate, changes, mean_interval, paired_rate_difference
from steersman.summary import Measured, is_rate
from steersman.tasks import Setting

EQUAL_NORM = ("random", "permuted", "negated", "shuffled")
"""The arms that are as strong as the steered one and should do nothing of what it does."""


@dataclass(frozen=True)
class Aim:
    """A metric and which way it should go.

    Args:
        task: as in `results.json`.
        metric: as in `results.json`.
        better: `higher` or `lower`.
        words: what a sentence calls it; task and metric where empty.
    """

    task: str
    metric: str
    better: Literal["higher", "lower"] = "higher"
    words: str = ""

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return self.words or f"{self.task} {self.metric.replace('_', ' ')}"


COSTS = (
    Aim("helpfulness", "helpful_rate", "higher", "helpful answers"),
    Aim("helpfulness", "refusal_rate", "lower", "ordinary prompts refused"),
    Aim("over-refusal", "refusal_rate", "lower", "safe prompts refused"),
    Aim("knowledge", "accuracy_text", "higher", "knowledge by text"),
    Aim("knowledge", "accuracy_letter", "higher", "knowledge by letter"),
    Aim("opinion", "truthful_rate", "higher", "truthful under a stated opinion"),
    Aim("coherence", "completion_logprob", "higher", "coherence"),
    Aim("fluency", "cross_entropy", "lower", "cross-entropy of plain text"),
    Aim("drift", "drift", "lower", "drift"),
)
"""What steering should not harm, of the tasks that know which way is good."""


@dataclass(frozen=True)
class Margin:
    """How far one setting is ahead of another in one metric.

    Args:
        aim: the metric.
        unit: what it is in; empty for a rate.
        rate: whether it is a share of items.
        ahead: the paired difference, above 0 where the first setting is better, whichever way the metric counts.
    """

    aim: Aim
    unit: str
    rate: bool
    ahead: Estimate

    @property
    def words(self) -> str:
        """The difference with its interval, as the metric counts it."""
        shown = self.ahead if self.aim.better == "higher" else self.ahead.turned()
        scale, digits, unit = (100, 1, " points") if self.rate else (1, 2, f" {self.unit}" if self.unit else "")
        value, low, high = (f"{scale * each + 0.0:+.{digits}f}" for each in (shown.value, shown.low, shown.high))
        return f"{self.aim.name} {value}{unit} [{low}, {high}], n = {shown.n}"


@dataclass(frozen=True)
class Standing:
    """A comparison in words.

    Args:
        sentence: plain, with every difference and its interval.
        sign: 1 where the vector is better, -1 where it is worse, 0 where neither or each in something.
        margins: what it rests on.
    """

    sentence: str
    sign: int
    margins: Sequence[Margin] = ()


def against_prompt(
    measured: Sequence[Measured],
    gain: Aim,
    costs: Sequence[Aim] = (),
    *,
    setting: Setting | None = None,
    seed: int = 0,
) -> Standing | None:
    """Return how a steered setting stands against the system prompt, or nothing where one of both was not measured.

    The vector beats the prompt where it is better in some metric and worse in none; and so the other way round. The
    intervals hold all differences at once: each covers 1 - 0.05 / (number of metrics).

    Args:
        measured: what `evaluate` measured.
        gain: what the vector is for.
        costs: what it should not harm; those not measured under both are left out.
        setting: the steered setting; the strongest where not given.
        seed: of the bootstrap.

    Raises:
        InputError: when `setting` was not measured on the gain's task.
    """
    steered = _steered(measured, gain, setting)
    if steered is None:
        return None
    pairs: list[tuple[Aim, Measured, Measured]] = []
    for aim in (gain, *costs):
        ours = _find(measured, aim, lambda s: s == steered.setting)
        theirs = _find(measured, aim, lambda s: s.arm == "prompt")
        if ours and theirs and _shared(aim, ours[0], theirs[0]):
            pairs.append((aim, ours[0], theirs[0]))
    if not pairs or pairs[0][0] is not gain:
        return None
    level = 1 - (1 - LEVEL) / len(pairs)
    margins = [_margin(aim, ours, theirs, seed, level) for aim, ours, theirs in pairs]
    won, lost = ([each for each in margins if each.ahead.sign == sign] for sign in (1, -1))
    listed = "; ".join(each.words for each in margins)
    if won and lost:
        ours, theirs = (", ".join(each.aim.name for each in some) for some in (won, lost))
        return Standing(
            f"Vector and prompt each win: the vector on {ours}, the prompt on {theirs} ({listed}).", 0, margins
        )
    if lost:
        return Standing(f"The vector loses to the prompt: {listed}.", -1, margins)
    if won and not margins[0].ahead.sign:
        words = "The vector costs less than the prompt; what they gain cannot be told apart at this n"
        return Standing(f"{words}: {listed}.", 1, margins)
    if won:
        return Standing(f"The vector beats the prompt: {listed}.", 1, margins)
    return Standing(f"Vector and prompt cannot be told apart at this n: {listed}.", 0, margins)


def against_controls(
    measured: Sequence[Measured], gain: Aim, *, setting: Setting | None = None, seed: int = 0
) -> Standing | None:
    """Return how a steered setting stands against its controls of equal norm, or nothing where there are none.

    It does better than they only where it does better than each of them: that takes no correction. It does worse where
    the best of them is ahead of it in an interval that holds all of them at once. A control that was measured at
    another strength than the steered setting is left out.

    Args:
        measured: what `evaluate` measured.
        gain: what the vector is for.
        setting: the steered setting; the strongest that has controls where not given.
        seed: of the bootstrap.

    Raises:
        InputError: when `setting` was not measured on the gain's task.
    """
    drawn = _find(measured, gain, lambda s: s.arm in EQUAL_NORM)
    places = {_place(each.setting) for each in drawn}
    if setting is None:
        beside = _find(measured, gain, lambda s: s.arm == "steered" and _place(s) in places)
        setting = max((each.setting for each in beside), key=_strength, default=None)
    steered = _steered(measured, gain, setting) if setting else None
    if steered is None:
        return None
    here = _place(steered.setting)
    controls = [each for each in drawn if _place(each.setting) == here and _shared(gain, steered, each)]
    if not controls:
        return None
    margins = [_margin(gain, steered, control, seed, LEVEL) for control in controls]
    nearest = min(range(len(controls)), key=lambda index: margins[index].ahead.value)
    strongest = _margin(gain, steered, controls[nearest], seed, 1 - (1 - LEVEL) / len(controls))
    name = _named(controls[nearest].setting)
    if all(margin.ahead.sign > 0 for margin in margins):
        sentence = (
            f"The vector does better than every control of equal norm; next to it, {name}: {margins[nearest].words}."
        )
        return Standing(sentence, 1, margins)
    if strongest.ahead.sign < 0:
        return Standing(f"The vector does worse than {name}: {strongest.words}.", -1, margins)
    close = min((i for i in range(len(controls)) if margins[i].ahead.sign <= 0), key=lambda i: margins[i].ahead.value)
    return Standing(
        f"The vector is no better than {_named(controls[close].setting)}: {margins[close].words}.", 0, margins
    )


def _strength(setting: Setting) -> tuple[float, float]:
    """Return what settings are ordered by; of two opposite ones the positive is the stronger, as for the controls."""
    return abs(setting.coefficient), setting.coefficient


def _place(setting: Setting) -> tuple[str | None, float, str]:
    return setting.site, setting.coefficient, setting.unit


def _named(setting: Setting) -> str:
    words = {
        "random": "a random direction",
        "permuted": "its own coordinates permuted",
        "negated": "its opposite",
        "shuffled": "one fitted to shuffled labels",
    }[setting.arm]
    return words if setting.seed is None else f"{words} (seed {setting.seed})"


def _find(measured: Sequence[Measured], aim: Aim, wanted: Callable[[Setting], bool]) -> list[Measured]:
    return [
        each
        for each in measured
        if each.task.name == aim.task
        and wanted(each.setting)
        and any(metric.name == aim.metric for metric in each.metrics)
    ]


def _steered(measured: Sequence[Measured], gain: Aim, setting: Setting | None) -> Measured | None:
    if setting is None:
        found = _find(measured, gain, lambda s: s.arm == "steered")
        return max(found, key=lambda each: _strength(each.setting), default=None)
    found = _find(measured, gain, lambda s: s == setting)
    if not found:
        raise InputError(
            f"expected a setting that was measured on {gain.task} {gain.metric}, got {setting.arm} at {setting.site}, "
            f"coefficient {setting.coefficient:g}"
        )
    return found[0]


def _shared(aim: Aim, one: Measured, other: Measured) -> list[str]:
    first, second = one.values(aim.metric), other.values(aim.metric)
    return [item for item in first if item in second]


def _margin(aim: Aim, one: Measured, other: Measured, seed: int, level: float) -> Margin:
    metric = next(metric for metric in one.metrics if metric.name == aim.metric)
    first, second = one.values(aim.metric), other.values(aim.metric)
    shared = _shared(aim, one, other)
    after, before = [first[item] for item in shared], [second[item] for item in shared]
    if is_rate(metric, after) and is_rate(metric, before):
        found = paired_rate_difference(after, before, level)
    else:
        moved = changes(after, before)
        found = mean_interval(moved, seed, level)
        # Equal differences have an interval without width, of one item as of a hundred: a sentence takes a sign only
        # where the sign-flip test finds one as well.
        if found.sign and sign_flip(moved, seed) > 1 - level:
            found = replace(found, low=min(found.low, 0.0), high=max(found.high, 0.0))
    return Margin(aim, metric.unit, metric.kind == "rate", found if aim.better == "higher" else found.turned())
