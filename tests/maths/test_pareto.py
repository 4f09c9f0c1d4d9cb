"""The frontier against its definition, its area against counting cells of a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.pareto import Box, Point, area, area_interval, dominated, dominates, frontier

SMALL = st.integers(0, 8).map(float)  # a few values, so that ties are common
POINTS = st.lists(st.builds(Point, SMALL, SMALL, st.text(max_size=1)), max_size=12)
BOX = Box(Point(0.0, 8.0), Point(8.0, 0.0))


@given(POINTS)
def test_the_frontier_is_what_nothing_dominates(points):
    def beaten(point):
        return any(other.gain >= point.gain and other.cost <= point.cost and (other.gain, other.cost)
                   != (point.gain, point.cost) for other in points)  # fmt: skip

    kept = frontier(points)
    assert sorted(map(repr, kept)) == sorted(repr(point) for point in points if not beaten(point))
    assert dominated(points) == [point for point in points if beaten(point)]
    assert [point.cost for point in kept] == sorted(point.cost for point in kept)
    assert not any(dominates(one, other) for one in kept for other in kept)


@given(POINTS)
def test_the_area_is_the_share_of_cells_that_a_point_dominates(points):
    cells = sum(
        any(point.gain >= gain + 1 and point.cost <= cost for point in points) for gain in range(8) for cost in range(8)
    )
    assert area(points, BOX) == pytest.approx(cells / 64)


@given(POINTS, st.builds(Point, SMALL, SMALL))
def test_another_point_never_takes_area_away(points, more):
    assert area([*points, more], BOX) >= area(points, BOX)
    assert area(frontier(points), BOX) == pytest.approx(area(points, BOX))


def test_the_area_ends_at_the_box():
    assert area([], BOX) == 0.0
    assert area([Point(99.0, -99.0)], BOX) == 1.0
    assert area([Point(-1.0, 0.0), Point(8.0, 9.0)], BOX) == 0.0
    assert area([Point(0.5, 0.0)], Box(Point(0.0, 1.0), Point(1.0, 0.0))) == 0.5


def test_the_interval_narrows_with_items_and_holds_the_area():
    draw = np.random.default_rng(0)
    box = Box(Point(0.0, 1.0), Point(1.0, 0.0))
    truth = area([Point(0.2, 0.1), Point(0.7, 0.5)], box)
    widths = []
    for n in (50, 800):
        gains = [draw.binomial(1, rate, n).astype(float).tolist() for rate in (0.2, 0.7)]
        costs = [draw.binomial(1, rate, n).astype(float).tolist() for rate in (0.1, 0.5)]
        found = area_interval(gains, costs, box, seed=1, resamples=500)
        assert found == area_interval(gains, costs, box, seed=1, resamples=500)
        assert found.low <= truth <= found.high
        assert (found.n, found.value) == (n, pytest.approx(
            area([Point(float(np.mean(g)), float(np.mean(c))) for g, c in zip(gains, costs, strict=True)], box)
        ))  # fmt: skip
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_the_same_items_are_drawn_together():
    # Gain and cost of an item rise together, so the area over one setting has less to vary by.
    rows = [[0.0, 1.0] * 30]
    box = Box(Point(0.0, 1.0), Point(1.0, 0.0))
    together = area_interval(rows, rows, box, same_items=True)
    apart = area_interval(rows, rows, box)
    assert together.value == apart.value == 0.25
    assert together.high - together.low < (apart.high - apart.low) / 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Box(Point(0.0, 1.0), Point(0.0, 0.0)), "a best point of more gain and less cost than the worst"),
        (lambda: frontier([Point(float("nan"), 0.0, "a")]), "a finite gain and cost, got nan and 0.0 of 'a'"),
        (lambda: area([Point(0.0, float("inf"))], BOX), "a finite gain and cost"),
        (lambda: area_interval([], [], BOX), "gains of the same items, at least one"),
        (lambda: area_interval([[1.0]], [[1.0, 2.0], [1.0]], BOX), "costs of the same items"),
        (lambda: area_interval([[1.0]], [[1.0], [1.0]], BOX), "gains and costs of the same settings"),
    ],
)
def test_what_has_no_frontier_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
