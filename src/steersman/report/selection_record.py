"""A selection as something to draw: what `Selection.plain()` and `CoefficientChoice.plain()` say, read once.

Three forms are known, all plain data as JSON holds it: a search of a coefficient (it has a `curve`), a selection over
sites and edits (it has `considered`), and several of either under `selections`,
such as both signs of one direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.errors import InputError
from steersman.report.words import DASH, coefficient, number, signed
from steersman.selection.budget import KNOWN
from steersman.selection.curve import Trial

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """One coefficient search: a site or several together, one sign, one edit.

    Args:
        sites: where, in words.
        sign: 1 or -1.
        unit: of all coefficients, `norm` or `raw`.
        edit: as `plan.edit_words` says it.
        span: the tokens that were steered.
        rule: the rule's name.
        status: what it came to, in words.
        recommended: the signed coefficient to use, within the budget where there is one; None where there is none.
        allowed: what the rule alone would recommend; None where there is none.
        onset: signed; None where unknown.
        alarm: signed; None where it never rang up to `tried`.
        tried: signed, the strongest.
        reason: in a sentence.
        prompts: what was completed.
        trials: by rising size, the first one unsteered.
        dropped: why the place is out, in words; empty where it is in the running.
    """

    sites: str
    sign: int
    unit: str
    edit: str
    span: str
    rule: str
    status: str
    recommended: float | None
    allowed: float | None
    onset: float | None
    alarm: float | None
    tried: float
    reason: str
    prompts: tuple[str, ...]
    trials: tuple[Trial, ...]
    dropped: tuple[str, ...] = ()

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What searches have in common that can be drawn in one figure: sites, unit, edit and span."""
        return self.sites, self.unit, self.edit, self.span

    @property
    def words(self) -> str:
        """Where, how and which way, such as `add at resid_post.14, positive coefficients`."""
        way = "positive" if self.sign > 0 else "negative"
        span = "" if self.span == "all" else f" over {self.span}"
        return f"{self.edit} at {self.sites}{span}, {way} coefficients"

    def past(self, trial: Trial) -> bool:
        """Return whether a trial lies at the alarm or beyond it."""
        return self.alarm is not None and abs(trial.coefficient) >= abs(self.alarm)

    @property
    def shown(self) -> Trial | None:
        """The trial at the recommendation or nearest to it, of two equally near the gentler; None without one."""
        aim = self.recommended
        if aim is None:
            return None
        steered = [trial for trial in self.trials if trial.coefficient]
        return min(steered, key=lambda t: (abs(t.coefficient - aim), abs(t.coefficient)), default=None)


@dataclass(frozen=True)
class Row:
    """One strength on the test items, all text."""

    label: str
    coefficient: str
    values: tuple[tuple[str, str], ...]
    n: str
    broken: str
    chosen: bool


@dataclass(frozen=True)
class Points:
    """The strengths around the recommendation, with what they did on the test items."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Place:
    """One candidate of the site profile."""

    site: str
    layer: int
    merit: float | None
    values: tuple[str, ...]
    dropped: str
    chosen: bool


@dataclass(frozen=True)
class Profile:
    """What every candidate came to, and what its merit is."""

    measure: str
    heads: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Part:
    """One selection: its sentences, the searches to draw, the others, test items, site profile, and what it is of."""

    reasons: tuple[str, ...]
    drawn: tuple[Search, ...]
    others: tuple[Search, ...] = ()
    points: Points | None = None
    profile: Profile | None = None
    name: str = ""


def parts_of(record: Record) -> list[Part]:
    """Return the selections that a record holds.

    Args:
        record: as one of the three forms.

    Raises:
        InputError: for a record of none of them.
    """
    if "selections" in record:
        several: Sequence[Record] = record["selections"]
        alone = tuple(_search(each) for each in several if "curve" in each)
        signs = len({search.sign for search in alone}) > 1
        reasons = tuple(f"{search.words}: {search.reason}" if signs else search.reason for search in alone)
        found = [Part(reasons, alone)] if alone else []
        return found + [part for each in several if "curve" not in each for part in parts_of(each)]
    if "curve" in record:
        return [Part((str(record["reason"]),), (_search(record),))]
    if "considered" in record:
        return [_selection(record)]
    raise InputError("expected a record with a curve, with considered places or with selections, got none of them")


def _selection(record: Record) -> Part:
    chosen: list[Search] = []
    others: list[Search] = []
    for each in record["considered"]:
        search = _search(each["search"], each)
        mine = each["site"] == record["site"] and each["edit"] == record["edit"]
        (chosen if mine else others).append(search)
    if not chosen:  # nothing was within the budget: the first place shows why
        chosen, others = others[:1], others[1:]
    name = str(record.get("name") or "")
    reason = f"{name}: {record['reason']}" if name else str(record["reason"])
    return Part((reason,), tuple(chosen), tuple(others), _points(record), _profile(record), name)


def _search(record: Record, considered: Record | None = None) -> Search:
    place = considered or {}
    return Search(
        sites=", ".join(record["sites"]),
        sign=record["sign"],
        unit=record["unit"],
        edit=record["edit"],
        span=record["span"],
        rule=record["rule"],
        status=record["status"],
        recommended=place["coefficient"] if considered else record["recommended"],
        allowed=record["recommended"],
        onset=record["onset"],
        alarm=record["alarm"],
        tried=record["tried"],
        reason=record["reason"],
        prompts=tuple(record["prompts"]),
        trials=tuple(map(Trial.parse, record["curve"])),
        dropped=tuple(place.get("dropped", ())),
    )


def _points(record: Record) -> Points | None:
    points: Sequence[Record] = record.get("points") or ()
    if not points:
        return None
    costs = list(dict.fromkeys(name for point in points for name in point["costs"]))
    heads = [f"Change of {record['objective']} ({record['effect_unit']})"]
    heads += [f"Cost: {name} ({KNOWN[name].unit})" if name in KNOWN else f"Cost: {name}" for name in costs]
    rows = [
        Row(
            label=point["label"],
            coefficient=coefficient(point["coefficient"]),
            values=tuple(_estimate(found) for found in (point["effect"], *map(point["costs"].get, costs))),
            n=str(point["effect"]["n"]),
            broken="; ".join(point["broken"]),
            chosen=point["label"] == "1x",
        )
        for point in points
    ]
    return Points(tuple(heads), tuple(rows))


def _estimate(found: Record | None) -> tuple[str, str]:
    """Return a change and its interval as text."""
    if found is None:
        return DASH, ""
    digits = 3 if abs(found["value"]) < 0.1 else 2
    return signed(found["value"], digits), f"{signed(found['low'], digits)} to {signed(found['high'], digits)}"


def _profile(record: Record) -> Profile | None:
    rows: Sequence[Record] = record.get("profile") or ()
    if not rows:
        return None
    taken = {"site", "layer", "position", "merit", "dropped", "chosen"}
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in taken]
    names = [name for name in names if any(row.get(name) is not None for row in rows)]
    places = [
        Place(
            site=row["site"] + ("" if row.get("position") is None else f" of token {row['position']}"),
            layer=row["layer"],
            merit=row["merit"],
            values=tuple(_figure(name, row.get(name)) for name in names),
            dropped="; ".join(row["dropped"]),
            chosen=row["chosen"],
        )
        for row in rows
    ]
    unit = record.get("effect_unit", "")
    heads = tuple(_head(name, unit) for name in names)
    return Profile(f"change of {record.get('objective', 'the target')} ({unit})", heads, tuple(places))


def _head(name: str, unit: str) -> str:
    if name in KNOWN:
        return f"{name} ({KNOWN[name].unit})"
    return f"{name} ({unit})" if name == "effect" and unit else name.replace("_", " ")


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return DASH
    return coefficient(value) if name == "coefficient" else number(value, 3)
