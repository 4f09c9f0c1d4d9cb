"""A range: the coefficients at which a direction is of use at one site, with one sign, as a selection found them.

It is advice, not a part of what steers: a direction acts the same with it and without. It is kept with the direction,
so that every place that asks for a coefficient (a command, a slider, a server) knows where to begin and where to warn.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from steersman.errors import InputError
from steersman.where import Site, Span

RangeUnit = Literal["norm", "raw"]
"""The units of a coefficient; a plan has the same."""

LENGTHS = ("add", "add_keeping_norm")
"""The edits whose coefficient is a length along the vector, so that its unit counts."""

SHARES = ("ablate",)
"""The edits whose coefficient is a share from 0 to 1, the same in both units; others have settings in their unit."""

ROUNDING = 1e-9
"""Share of a limit by which a coefficient may lie beyond it: conversion between units rounds, nobody types so close."""

USUAL = 0.5
"""In `norm` units, how far a slider goes where nothing is known: text usually stays readable up to 0.3 to 0.5."""

LONGEST = 2_000
"""Characters of a reason."""


@dataclass(frozen=True)
class Range:
    """Between the onset of the behaviour and the end of coherence.

    Args:
        site: where the direction was applied.
        sign: 1 for positive coefficients, -1 for negative ones.
        tried: the strongest coefficient that was tried, above 0.
        recommended: None where the selection found nothing to recommend.
        onset: where the behaviour begins; None where unknown or never.
        alarm: where coherence ends; None where it did not end up to `tried`.
        unit: `norm` (fractions of the mean residual norm at the site) or `raw` (multiples of the vector).
        edit: as `plan.edit_words` says it: the edit's name, with its settings where it has any.
        span: the tokens that were steered.
        reason: how it was found, in a sentence.
        beside: the other sites where it was applied at the same time and coefficient; none, where it acted at one.

    The four coefficients are sizes, in `unit`: at `sign` -1, a recommended 0.3 means the coefficient -0.3.

    Raises:
        InputError: for numbers that are no such range, an unknown unit or span.
    """

    site: Site
    sign: int
    tried: float
    recommended: float | None = None
    onset: float | None = None
    alarm: float | None = None
    unit: str = "norm"
    edit: str = "add"
    span: str = "all"
    reason: str = ""
    beside: tuple[Site, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        if self.sign not in (1, -1):
            raise InputError(f"expected the sign 1 or -1 of a range, got {self.sign}")
        for name in ("tried", "recommended", "onset", "alarm"):
            value = getattr(self, name)
            if value is None and name != "tried":
                continue
            if value is None or not 0 < value < float("inf"):
                raise InputError(f"expected a positive number as a range's {name}, got {value}")
            object.__setattr__(self, name, float(value))
        for name in ("recommended", "onset", "alarm"):
            value = getattr(self, name)
            # A recommendation behind the alarm would be warned of as soon as it was taken.
            most, what = (self.limit, "limit") if name == "recommended" else (self.tried, "strongest trial")
            if value is not None and value > most:
                raise InputError(f"expected a range's {name} up to its {what}, {most:g}, got {value:g}")
        if self.unit not in get_args(RangeUnit):
            raise InputError(f"expected a range's unit among {', '.join(get_args(RangeUnit))}, got {self.unit[:80]!r}")
        object.__setattr__(self, "span", str(Span.parse(self.span)))
        if not self.edit or len(self.edit) > 200:
            raise InputError(f"expected a range's edit in at most 200 characters, got {self.edit[:80]!r}")
        object.__setattr__(self, "beside", tuple(sorted(set(self.beside))))
        if self.site in self.beside:
            raise InputError(f"expected other sites beside {self.site}, got itself")
        if len(self.reason) > LONGEST:
            raise InputError(f"expected a range's reason in at most {LONGEST:,} characters, got {len(self.reason):,}")

    @property
    def limit(self) -> float:
        """The size up to which the direction is known to leave coherent text: the alarm, or as far as was tried."""
        return self.tried if self.alarm is None else self.alarm

    @property
    def coefficient(self) -> float | None:
        """The recommended coefficient with its sign; None where there is none."""
        return None if self.recommended is None else self.sign * self.recommended

    @property
    def key(self) -> tuple[Site, int, str, str, str, tuple[Site, ...]]:
        """What it is the range of, beside the vector: site, sign, unit, edit, span and the sites beside."""
        return self.site, self.sign, self.unit, self.edit, self.span, self.beside

    @property
    def sites(self) -> tuple[Site, ...]:
        """All the sites that were steered, in order of depth."""
        return tuple(sorted((self.site, *self.beside)))

    @property
    def convertible(self) -> bool:
        """Whether it can be said in the other unit; not of several sites, whose vectors differ in length."""
        return self.edit in SHARES or (self.edit in LENGTHS and not self.beside)

    def passed_by(self, coefficient: float) -> bool:
        """Return whether a coefficient, in the range's unit, has its sign and lies beyond its limit."""
        return self.sign * coefficient > self.limit * (1 + ROUNDING)

    def beyond(self, *coefficients: float) -> str:
        """Return what to say of the coefficients that lie beyond the limit, in a sentence; empty where none does.

        Args:
            coefficients: signed, in the range's unit.
        """
        passed = sorted({float(value) for value in coefficients if self.passed_by(value)}, key=abs)
        if not passed:
            return ""
        words = "where this direction's text stopped being coherent"
        if self.alarm is None:
            words = "as far as this direction was tried"
        advice = "nothing of this sign is recommended"
        if self.coefficient is not None:
            advice = f"recommended {self.coefficient:g}"
        subject = "coefficient" if len(passed) == 1 else "coefficients"
        return (
            f"{subject} {', '.join(f'{value:g}' for value in passed)} {self.unit} at {self._where} "
            f"{'is' if len(passed) == 1 else 'are'} beyond {self.sign * self.limit:g}, {words} ({advice})"
        )

    @property
    def _where(self) -> str:
        sites = self.sites
        return ", ".join(map(str, sites)) if len(sites) <= 4 else f"{len(sites)} sites, {sites[0]} to {sites[-1]}"

    def scaled(self, factor: float) -> "Range":
        """Return the range with its four coefficients times a factor above 0.

        Raises:
            InputError: when they do not stay numbers above 0.
        """
        sizes = {name: getattr(self, name) for name in ("tried", "recommended", "onset", "alarm")}
        return replace(self, **{name: None if size is None else size * factor for name, size in sizes.items()})

    def converted(self, norm: float, length: float) -> "Range":
        """Return the same range in the other unit: exact, since both units are lengths along one vector.

        Of an ablation only the unit's name changes: its coefficient is a share.

        Args:
            norm: mean residual norm at the site, what coefficient 1 adds in `norm` units.
            length: the fitted vector's length, what coefficient 1 adds in `raw` units.

        Raises:
            InputError: for lengths that are no positive numbers, an edit whose settings have the unit as well, or
                several sites, each of which would need lengths of its own.
        """
        if not self.convertible:
            known = ", ".join((*LENGTHS, *SHARES))
            raise InputError(f"expected a range of {known} at one site to convert, got {self.edit[:80]!r}")
        if not (0 < norm < float("inf") and 0 < length < float("inf")):
            raise InputError(f"expected a positive residual norm and vector length, got {norm} and {length}")
        factor, unit = (norm / length, "raw") if self.unit == "norm" else (length / norm, "norm")
        return replace(self if self.edit in SHARES else self.scaled(factor), unit=unit)

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain data, for JSON; `steersman.files.range_of` reads it."""
        return asdict(self) | {"site": str(self.site), "beside": [str(site) for site in self.beside]}


@dataclass(frozen=True)
class Slider:
    """Between which coefficients a slider goes.

    Args:
        low: the most negative coefficient, 0 or below.
        high: the most positive one, 0 or above.
        start: where it stands first: the recommendation, or 0, which steers nothing.
        known: whether both ends were measured; where not, an end is the usual one.
    """

    low: float
    high: float
    start: float
    known: bool

    @staticmethod
    def usual(unit: str, edit: str, norm: float, length: float) -> tuple[float, float]:
        """Return between what a slider goes where nothing is known; from 0 to 1 where the coefficient is a share.

        Args:
            unit: `norm` or `raw`.
            edit: as `plan.edit_words` says it.
            norm: mean residual norm at the site.
            length: the fitted vector's length.
        """
        if edit not in LENGTHS:
            return 0.0, 1.0
        end = USUAL if unit == "norm" else USUAL * norm / length
        return -end, end

    @staticmethod
    def between(positive: Range | None, negative: Range | None, *, usual: tuple[float, float]) -> "Slider":
        """Return the slider that two ranges of one site make.

        Args:
            positive: of the positive sign, where known.
            negative: of the negative sign, where known, in the same unit.
            usual: its ends where nothing is known; an end of which nothing is known goes no further than the other one.

        It starts at the positive recommendation, else at the negative one, else at 0.
        """
        known = [each for each in (positive, negative) if each is not None]
        least = min((each.limit for each in known), default=float("inf"))
        high = positive.limit if positive else min(usual[1], least)
        low = -negative.limit if negative else max(usual[0], -least)
        start = next((each.coefficient for each in known if each.coefficient is not None), 0.0)
        measured = (positive is not None or usual[1] == 0) and (negative is not None or usual[0] == 0)
        return Slider(low, high, start, measured)
