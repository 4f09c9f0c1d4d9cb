"""A run as frozen values, and how a row is found among them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """Where and how strongly: a site such as "resid_post.14", a coefficient, and its unit ("norm" or "raw")."""

    site: str | None
    coefficient: float | None
    unit: str | None

    def same(self, other: "Setting") -> bool:
        """True where both name the same site, unit and coefficient, up to float rounding."""
        if self.site != other.site or self.unit != other.unit:
            return False
        if self.coefficient is None or other.coefficient is None:
            return self.coefficient is other.coefficient
        return math.isclose(self.coefficient, other.coefficient, rel_tol=1e-9, abs_tol=1e-12)

    @property
    def layer(self) -> int | None:
        """The layer in the site's name, or None."""
        match = re.search(r"\.(\d+)$", self.site or "")
        return int(match[1]) if match else None


@dataclass(frozen=True)
class Result:
    """One measured number with its 95 % interval: rates from 0 to 1, log-probabilities and entropies in nats.

    Of a difference, `p` and what becomes of it and of the interval where several settings were tried. `seeds` is the
    number of drawn controls that were made into one row; see `pooled`.
    """

    task: str
    metric: str
    arm: str
    site: str | None
    coefficient: float | None
    unit: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    seed: int | None = None
    p: float | None = None
    p_adjusted: float | None = None
    low_adjusted: float | None = None
    high_adjusted: float | None = None
    seeds: int = 1

    @property
    def setting(self) -> Setting:
        """Site, coefficient and unit."""
        return Setting(self.site, self.coefficient, self.unit)


@dataclass(frozen=True)
class Layer:
    """One row of the layer search: `separation` is an AUROC, effects and `kl` are nats, norms are activation units."""

    layer: int
    depth: float | None
    vector_norm: float | None
    residual_norm: float | None
    separation: float | None
    effect_harmful: float | None
    effect_harmless: float | None
    kl: float | None
    eligible: bool
    effect: float | None = None


@dataclass(frozen=True)
class LayerSearch:
    """How a layer was chosen: the criterion in words, the choice, and what was measured at every layer."""

    direction: str
    criterion: str
    chosen: int | None
    rows: tuple[Layer, ...]
    measure: str = "refusal log-odds (nats)"


@dataclass(frozen=True)
class Completion:
    """One generated text and what the judges said of it."""

    task: str
    item: str
    prompt: str
    arm: str
    setting: Setting
    text: str
    refused: bool | None
    helpful: bool | None
    seed: int | None = None


@dataclass(frozen=True)
class Remark:
    """What a reader has to be warned of, with the task and the setting it is about."""

    task: str
    arm: str
    setting: Setting
    text: str


@dataclass(frozen=True)
class Run:
    """Everything a report needs of a run folder.

    Attributes:
        folder: The run folder.
        results: Rows of `results.json`, in file order.
        differences: Paired differences to the unsteered arm, in the same form.
        layers: One layer search per direction.
        completions: Generated texts, in file order.
        summary: `summary.json` as it stands.
        provenance: `provenance.json` as it stands.
        config: The text of `config.yaml`.
        notes: What was missing or dropped, in sentences.
        groups: Rows of `groups.json`: a group (subject, category) and its result.
        remarks: What a reader has to be warned of.
        agreement: Rows of `agreement.json`, as they stand.
    """

    folder: Path
    results: tuple[Result, ...]
    differences: tuple[Result, ...] = ()
    layers: tuple[LayerSearch, ...] = ()
    completions: tuple[Completion, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config: str = ""
    notes: tuple[str, ...] = ()
    groups: tuple[tuple[str, Result], ...] = ()
    remarks: tuple[Remark, ...] = ()
    agreement: tuple[Mapping[str, Any], ...] = ()

    @property
    def chosen(self) -> Setting | None:
        """The setting the study chose, the only one a free evaluation steered at, or None where there is none yet."""
        if self.summary and "chosen" not in self.summary:
            steered = {row.setting for row in self.results if row.arm == "steered"}
            return steered.pop() if len(steered) == 1 else None
        record = self.summary.get("chosen")
        if not isinstance(record, Mapping) or finite(record.get("coefficient")) is None:
            return None
        return Setting(named(record.get("site")), finite(record.get("coefficient")), named(record.get("unit")))

    def row(self, task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
        """The result of one arm; of the steered and random arms, at `setting`."""
        return pick(self.results, task, metric, arm, setting)

    def difference(self, task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
        """The paired difference of one arm to the unsteered arm."""
        return pick(self.differences, task, metric, arm, setting)


def pick(rows: Iterable[Result], task: str, metric: str, arm: str, setting: Setting | None = None) -> Result | None:
    """The row with a value for this task, metric and arm; at `setting`, where one is given; several seeds pooled."""
    found: list[Result] = []
    for row in rows:
        asked_for = (row.task, row.metric, row.arm) == (task, metric, arm) and row.value is not None
        here = asked_for and (setting is None or is_at(row, setting))
        # of the settings of an arm the first counts, with all its seeds
        if here and (not found or row.setting.same(found[0].setting)):
            found.append(row)
    seeds = {row.seed for row in found}
    return pooled(found) if len(seeds) == len(found) > 1 else next(iter(found), None)


def is_at(row: Result | Completion, setting: Setting) -> bool:
    """Whether a row stands beside a steered one at `setting`: a negated direction may say so by its coefficient."""
    here = row.setting
    if row.arm == "negated" and here.coefficient is not None and here.coefficient == -(setting.coefficient or 0.0):
        here = replace(here, coefficient=setting.coefficient)
    return here.same(setting)


def pooled(rows: Sequence[Result]) -> Result:
    """One row for a control that was drawn several times: the mean over its seeds that stands among them.

    Where it does not, the mean of their values, from the lowest to the highest end of their intervals: wider than any
    one seed's on purpose, since it holds what each of them does.
    """
    means = [row for row in rows if row.seed is None]
    if means:
        return replace(means[0], seeds=len(rows) - len(means))
    values = [row.value for row in rows if row.value is not None]
    lows, highs = [row.low for row in rows], [row.high for row in rows]
    return replace(
        rows[0],
        value=sum(values) / len(values),
        low=None if None in lows else min(low for low in lows if low is not None),
        high=None if None in highs else max(high for high in highs if high is not None),
        seed=None,
        p=None,
        p_adjusted=None,
        low_adjusted=None,
        high_adjusted=None,
        seeds=len(rows),
    )


def finite(value: Any) -> float | None:
    """A finite number, or None: NaN and infinity are what a failed measurement leaves, and no page can draw them."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def named(value: Any) -> str | None:
    """The value as text, or None."""
    return None if value is None else str(value)
