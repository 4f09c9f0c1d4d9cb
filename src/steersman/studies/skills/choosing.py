"""Choosing on validation texts: the vector, the layers and the coefficient that remove most while enough is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.maths.retention import along
from steersman.studies.skills.curves import Curve


@dataclass(frozen=True)
class Best:
    """What a curve came to on validation texts, in a number.

    Args:
        curve: of one vector at one set of layers.
        left: the least share of the removed skill that is left while enough of the kept one is.
        kept: the share of the kept skill there.
        coefficient: there, in `norm` units.
    """

    curve: Curve
    left: float
    kept: float
    coefficient: float


@dataclass(frozen=True)
class Choice:
    """What was chosen for one removed skill.

    Args:
        remove: the skill.
        best: the chosen curve.
        single: the best of the same vector at one layer.
        several: the best of the same vector at several layers together; `None` where none was asked for.
        others: the best of every other vector for the skill, by its name.
        reason: in a sentence.
    """

    remove: str
    best: Best
    single: Best | None
    several: Best | None
    others: dict[str, Best]
    reason: str


def best_of(curve: Curve, retain: float) -> Best:
    """Return the point of a curve that removes most with enough kept: a measured one, or where it passes the level.

    A curve that keeps enough nowhere but at coefficient 0 passes the level between 0 and its first coefficient.

    Args:
        curve: on validation texts.
        retain: the share of the kept skill that has to stay.
    """
    x, y = curve.removed.value, curve.kept.value
    where = curve.passing(retain)
    # What lies behind the first passing has been damaged before, even if it recovers.
    last = len(x) if where is None else int(where.value) + 1
    points = [Best(curve, float(x[i]), float(y[i]), curve.coefficients[i]) for i in range(1, last) if y[i] >= retain]
    if where is not None:
        coefficient = max(round(float(along(curve.coefficients, where).value), 4), 1e-4)
        points.append(Best(curve, float(along(curve.removed, where).value), retain, coefficient))
    return min(points, key=lambda point: (point.left, point.coefficient))


def choose(curves: Sequence[Curve], remove: str, retain: float) -> Choice:
    """Return the choice for one removed skill among validation curves of any vectors and layers.

    Args:
        curves: of all skills.
        remove: the skill.
        retain: the share of the kept skill that has to stay.
    """
    found = [best_of(curve, retain) for curve in curves if curve.line.remove == remove]
    best = min(found, key=_rank)
    same = [each for each in found if each.curve.line.vector == best.curve.line.vector]
    single = min((each for each in same if len(each.curve.line.layers) == 1), key=_rank, default=None)
    several = min((each for each in same if len(each.curve.line.layers) > 1), key=_rank, default=None)
    others: dict[str, Best] = {}
    for each in sorted(found, key=_rank):
        if each.curve.line.vector != best.curve.line.vector:
            others.setdefault(each.curve.line.vector, each)
    line, n = best.curve.line, best.curve.removed.n
    reason = (
        f"of {len(found)} curves on validation texts, {line.place} leaves least of {remove}: {best.left:.1%} with "
        f"{best.kept:.1%} of {best.curve.keep} kept, at coefficient {best.coefficient:g} (norm units; {n} texts of "
        f"{remove}, {best.curve.kept.n} of {best.curve.keep})"
    )
    return Choice(remove, best, single, several, others, reason)


def _rank(best: Best) -> tuple[float, float, int, str]:
    """Return what to sort by: least left, then most kept, then fewest layers."""
    line = best.curve.line
    return (best.left, -best.kept, len(line.layers), line.place)
