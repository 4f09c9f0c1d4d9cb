"""What a search of a coefficient came to: the pick, the curve with every completion, the range for a file."""

from dataclasses import asdict, dataclass
from typing import Any

from steersman.range import LONGEST, Range
from steersman.selection.curve import Curve, Pick, Trial
from steersman.where import Site


@dataclass(frozen=True)
class CoefficientChoice:
    """A coefficient for a direction and sign, with all that was seen on the way.

    Args:
        pick: what the rule made of the curve, its onset read off the projection where the rule tells none.
        curve: every coefficient that was tried, with its completions and signals; the first is unsteered.
        prompts: what was completed.
        rule: the rule's name.
        sites: where the direction was applied, at all of them at once.
        sign: 1 or -1.
        unit: of all coefficients, `norm` or `raw`.
        edit: as `plan.edit_words` says it.
        span: the tokens that were steered.
        largest: the largest sensible size, beyond which nothing is tried.
        completions: how many were made, the unsteered ones among them.
        rounds: in so many batches.
        reason: the rule's sentence, and how the curve was found.
    """

    pick: Pick
    curve: Curve
    prompts: tuple[str, ...]
    rule: str
    sites: tuple[Site, ...]
    sign: int
    unit: str
    edit: str
    span: str
    largest: float
    completions: int
    rounds: int
    reason: str

    @property
    def recommended(self) -> float | None:
        """The signed coefficient to use; `None` where there is none to be recommended."""
        return self.pick.recommended

    @property
    def shown(self) -> Trial | None:
        """The trial at the recommendation, or nearest to it; `None` without one."""
        return None if self.pick.recommended is None else self.curve.nearest(self.pick.recommended)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The range for the direction's file, one per site; of several sites each names the others beside it."""
        sizes = {"onset": self.pick.onset, "alarm": self.pick.alarm, "recommended": self.pick.recommended}
        known = {name: None if value is None else abs(value) for name, value in sizes.items()}
        limit = known["alarm"] or abs(self.pick.tried)
        if known["recommended"] is not None:
            # A rule of one's own may recommend what lies behind its alarm; a range is what can be used.
            known["recommended"] = min(known["recommended"], limit)
        return tuple(
            Range(
                site,
                self.sign,
                tried=abs(self.pick.tried),
                **known,
                unit=self.unit,
                edit=self.edit,
                span=self.span,
                reason=self.reason[:LONGEST],
                beside=tuple(other for other in self.sites if other != site),
            )
            for site in self.sites
        )

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "rule": self.rule,
            "sites": [str(site) for site in self.sites],
            "sign": self.sign,
            "unit": self.unit,
            "edit": self.edit,
            "span": self.span,
            **asdict(self.pick),
            "largest": self.largest,
            "completions": self.completions,
            "rounds": self.rounds,
            "prompts": list(self.prompts),
            "curve": [trial.plain() for trial in self.curve.trials],
            "reason": self.reason,
        }
