"""How settings are called, and which of them stand in one row: a way of steering, both signs beside each other.

A setting that is of one behaviour alone (its vector alone, or a control of it) shares its row with the same of the
other behaviours: in such a row every behaviour has a setting of its own, in any other row all have the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.maths.statistics import Estimate
from steersman.report.behaviours.values import Record, Score, Setting, Tax
from steersman.report.words import MINUS, coefficient, signed

KIND_WORDS: Mapping[str, str] = {
    "single": "alone",
    "combined": "one vector",
    "simultaneous": "each at its own layer",
    "one layer": "all at one layer",
    "random": "random directions",
    "prompt": "system prompt",
}
WAY_WORDS: Mapping[str, str] = {
    "mean": "mean",
    "sum": "sum",
    "gram-schmidt": "Gram-Schmidt",
    "symmetric": "symmetric",
    "solve": "solved",
}
"""The ways of `composition.compose`, in words."""
WAY_MEANINGS: Mapping[str, str] = {
    "mean": "The vectors are averaged into one.",
    "sum": "The vectors are added up into one.",
    "gram-schmidt": "From each vector what the ones before it already hold is taken out, then all are added up.",
    "symmetric": "All vectors are turned as little as it takes to be at right angles to each other, then added up.",
    "solve": "The coefficients are solved for, so that each behaviour's axis gets just the push that was asked for.",
}

_AS = "random, as "
"""How a study calls a random control of a setting: this, then the setting's name."""


@dataclass(frozen=True)
class Row:
    """One way of steering.

    Args:
        label: what it is called.
        kind: of its settings.
        shared: by sign, the setting that is all behaviours'.
        own: by behaviour and sign, the setting that is one behaviour's.
    """

    label: str
    kind: str
    shared: Mapping[int, Setting]
    own: Mapping[tuple[str, int], Setting]

    @property
    def signs(self) -> tuple[int, ...]:
        """The signs there are, the positive first."""
        return tuple(sorted({*self.shared, *(sign for _, sign in self.own)}, reverse=True))

    def setting(self, behaviour: str, sign: int) -> Setting | None:
        """Return what steers a behaviour in this row."""
        return self.shared.get(sign) or self.own.get((behaviour, sign))

    def score(self, behaviour: str, sign: int) -> Score | None:
        """Return how a behaviour scores in this row; None where it was not measured."""
        found = self.setting(behaviour, sign)
        return found.scores.get(behaviour) if found else None

    def taxes(self, sign: int) -> list[tuple[str, Tax]]:
        """Return the tax of every setting of a sign, with the behaviour it is of; empty where it is all behaviours'."""
        mine = [("", self.shared[sign])] if sign in self.shared else []
        mine += [(name, found) for (name, which), found in self.own.items() if which == sign]
        return [(name, found.tax) for name, found in mine if found.tax]


def label(setting: Setting, record: Record) -> str:
    """Return what a setting is called without its sign and scale, such as `one vector: sum, weighted`."""
    imitated = _imitated(setting, record)
    if imitated is not None:
        return f"random, as {label(imitated, record)}"
    words = KIND_WORDS.get(setting.kind, setting.kind)
    if setting.kind == "combined" and setting.way:
        words = f"{words}: {WAY_WORDS.get(setting.way, setting.way)}"
    return f"{words}, weighted" if setting.weighted else words


def subject(setting: Setting, record: Record) -> str:
    """Return the one behaviour that a setting is of; the empty text where it is of several."""
    imitated = _imitated(setting, record)
    if imitated is not None:
        return subject(imitated, record)
    if setting.kind not in ("single", "random", "prompt"):
        return ""
    if len(setting.members) == 1:
        return setting.members[0].behaviour
    named = [name for name in record.names if name in setting.name]
    # with one behaviour alone there is nothing to tell apart
    return named[0] if not setting.members and len(named) == 1 and len(record.names) > 1 else ""


def _imitated(setting: Setting, record: Record) -> Setting | None:
    """Return the setting in whose place random directions stand; None where the name does not say it."""
    head, _, name = setting.name.partition(_AS)
    if setting.kind != "random" or head:
        return None
    return next((each for each in record.settings if each.name == name and each.kind != "random"), None)


def rows_of(record: Record) -> list[Row]:
    """Return the steered settings by row, in the order of their kinds; two of one label and sign have a row each."""
    order = list(KIND_WORDS)
    found: dict[tuple[int, str], tuple[dict[int, Setting], dict[tuple[str, int], Setting]]] = {}
    for setting in record.settings:
        if setting.kind == "unsteered":
            continue
        of = subject(setting, record)
        place = order.index(setting.kind) if setting.kind in order else len(order)
        shared, own = found.setdefault((place, label(setting, record)), ({}, {}))
        if (of and (of, setting.sign) in own) or (not of and setting.sign in shared):
            shared, own = found.setdefault((place, f"{label(setting, record)} ({setting.name})"), ({}, {}))
        if of:
            own[of, setting.sign] = setting
        else:
            shared[setting.sign] = setting
    return [
        Row(words, _kind(shared, own), shared, own) for (_, words), (shared, own) in sorted(found.items(), key=_place)
    ]


def _place(item: tuple[tuple[int, str], object]) -> int:
    return item[0][0]  # the order of the record within a kind


def _kind(shared: Mapping[int, Setting], own: Mapping[tuple[str, int], Setting]) -> str:
    return next(iter([*shared.values(), *own.values()])).kind


def sign_mark(sign: int) -> str:
    """Return a sign as it is written behind a row's name."""
    return {1: "+", -1: MINUS}.get(sign, "±")


def scale_words(setting: Setting) -> str:
    """Return how strongly a setting steers, in few words; empty where nothing is steered."""
    if setting.scale is not None and len(setting.members) != 1:
        return f"scale {coefficient(round(setting.scale, 4))}"
    sites = [f"{coefficient(_short(each.coefficient))} at {each.site}" for each in setting.members[:1]]
    return sites[0] if len(setting.members) == 1 else ""


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def margin_words(found: Estimate, digits: int = 2) -> str:
    """Return a margin's change as text, such as `+0.12`."""
    return signed(found.value, digits)


def range_words(found: Estimate, digits: int = 2) -> str:
    """Return an interval of a change as text, such as `+0.08 to +0.16`."""
    return f"{signed(found.low, digits)} to {signed(found.high, digits)}"


def points_words(found: Estimate) -> str:
    """Return a change of a share in percentage points, such as `+4.0`."""
    return signed(100 * found.value, 1)


def points_range(found: Estimate) -> str:
    """Return the interval of a change of a share in percentage points."""
    return f"{signed(100 * found.low, 1)} to {signed(100 * found.high, 1)}"
