"""Retention: by hand, against a plain formula, and what must hold of every curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.retention import (
    Draws,
    along,
    area,
    change,
    crossing,
    kept_percentage,
    levels,
    lost,
    pooled,
    relative,
    relative_percentages,
)

shares = st.lists(st.floats(0.0, 1.2), min_size=1, max_size=6)


def exact(*values: float) -> Draws:
    """Draws that all say the same."""
    return Draws(np.tile(np.array(values, float), (5, 1)), 20)


def test_levels_weigh_tokens_and_not_texts():
    found = levels([[1.0, 0.0], [0.5, 0.0]], [30, 10])
    assert found.value == pytest.approx([0.75, 0.375])
    assert relative(found).value == pytest.approx([1.0, 0.5])
    assert change(found).value == pytest.approx([0.0, -0.375])


def test_what_is_the_same_share_of_every_text_has_no_interval_though_the_texts_differ():
    """Paired: the draws of texts are those of the baseline, and cancel."""
    easy = np.random.default_rng(1).uniform(0.2, 0.9, 30)
    found = relative(levels(np.stack([easy, 0.8 * easy]), list(range(10, 40))))
    assert found[1].estimate().low == pytest.approx(0.8, abs=1e-9)
    assert found[1].estimate().high == pytest.approx(0.8, abs=1e-9)
    whole = levels(easy[None], list(range(10, 40)))[0].estimate()
    assert whole.high - whole.low > 0.05


def test_the_same_seed_draws_the_same_texts_for_another_set_of_coefficients():
    generator = np.random.default_rng(3)
    values, weights = generator.uniform(0, 1, (4, 25)), generator.integers(5, 60, 25).tolist()
    both = levels(values, weights, seed=7)
    alone = levels(values[2:3], weights, seed=7)
    assert np.array_equal(both.rows[:, 2], alone.rows[:, 0])
    assert not np.array_equal(alone.rows, levels(values[2:3], weights, seed=8).rows)


def test_an_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says():
    generator, held, trials = np.random.default_rng(0), 0, 300
    for trial in range(trials):
        ability = generator.uniform(0.2, 0.8, 16)
        before = generator.binomial(64, ability) / 64
        after = generator.binomial(64, 0.7 * ability) / 64
        found = relative(levels(np.stack([before, after]), [64] * 16, seed=trial))[1].estimate()
        held += found.low <= 0.7 <= found.high
    assert 0.91 <= held / trials <= 0.99


def test_fewer_texts_have_wider_intervals_and_one_text_none():
    values = np.random.default_rng(5).uniform(0, 1, (2, 40))
    few = Draws(levels(values, [1.0] * 40).rows[:, 0], 4).estimate()
    many = Draws(levels(values, [1.0] * 40).rows[:, 0], 40).estimate()
    assert few.high - few.low > many.high - many.low > 0
    one = levels([[0.5]], [10])[0].estimate()
    assert (one.low, one.high) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("kept", "level", "place"),
    [
        ((1.0, 0.95, 0.85), 0.9, 1.5),
        ((1.0, 0.8), 0.9, 0.5),
        ((1.0, 0.9, 0.5), 0.9, 1.0),
        ((1.0, 1.1, 0.9), 1.0, 1.5),
        # The first passing counts: what comes back up later has been damaged before.
        ((1.0, 0.8, 0.95, 0.5), 0.9, 0.5),
    ],
)
def test_a_curve_passes_a_level_between_two_coefficients(kept, level, place):
    where = crossing(exact(*kept), level)
    assert where is not None
    assert where.value == pytest.approx(place)
    assert along(exact(*kept), where).value == pytest.approx(level)
    assert along(list(range(len(kept))), where).value == pytest.approx(place)


def test_a_curve_that_never_passes_has_no_place_and_a_resample_that_does_not_is_counted_at_the_end():
    assert crossing(exact(1.0, 0.95), 0.9) is None
    rows = np.array([[1.0, 0.95, 0.8], [1.0, 0.97, 0.92]])
    where = crossing(Draws(rows, 9), 0.9)
    assert where is not None
    assert where.rows == pytest.approx([1 + 1 / 3, 2.0])


def test_area_by_hand():
    # The removed skill vanishes alone: the triangle (1, 1), (0, 1), (1/2, 1/2).
    assert area(exact(1.0, 0.0), exact(1.0, 1.0)).value == pytest.approx(0.25)
    assert area(exact(1.0, 1.0), exact(1.0, 0.0)).value == pytest.approx(-0.25)
    assert area(exact(1.0, 0.6, 0.2), exact(1.0, 0.6, 0.2)).value == pytest.approx(0.0)
    # Along the top to x = 0.6, up to where (1 - 0.8) / ... = 0.1 is lost: x = 0.8, triangle of height 0.1.
    assert area(exact(1.0, 0.6), exact(1.0, 1.0), reach=0.1).value == pytest.approx(0.2 * 0.1 / 2)
    assert lost(exact(1.0, 0.6), exact(1.0, 1.0)) == pytest.approx(0.2)


@given(shares, st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_laws_of_area(removed, height, seed):
    x = exact(1.0, *removed)
    y = exact(1.0, *np.random.default_rng(seed).uniform(0, height + 0.01, len(removed)))
    assert area(x, y).value == pytest.approx(-area(y, x).value)
    assert area(x, x).value == pytest.approx(0, abs=1e-12)
    # The polygon's own formula, closed by the foot of the last point on the diagonal.
    foot = (x.value[-1] + y.value[-1]) / 2
    xs, ys = [*x.value, foot], [*y.value, foot]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    assert abs(area(x, y).value) == pytest.approx(abs(twice) / 2, abs=1e-9)
    assert area(x, y, reach=10.0).value == pytest.approx(area(x, y).value)
    assert area(x, y, reach=0.0).value == pytest.approx(0.0, abs=1.3)
    # A point in the middle of a straight piece changes nothing.
    fuller_x = exact(*np.insert(x.value, 1, (x.value[0] + x.value[1]) / 2))
    fuller_y = exact(*np.insert(y.value, 1, (y.value[0] + y.value[1]) / 2))
    assert area(fuller_x, fuller_y).value == pytest.approx(area(x, y).value)


def test_pooled_controls_have_their_mean_and_the_spread_between_them():
    one, two = (Draws(np.full(4001, value), 30) for value in (0.8, 0.9))
    both = pooled([one, two], seed=1)
    assert both.value == pytest.approx(0.85)
    assert (both.estimate().low, both.estimate().high) == pytest.approx((0.8, 0.9))
    assert pooled([one]).estimate().low == pytest.approx(0.8)
    with pytest.raises(InputError, match="at least one control"):
        pooled([])


def test_differences_are_taken_draw_by_draw():
    values = np.random.default_rng(2).uniform(0.2, 0.9, 20)
    found = levels(np.stack([values, values - 0.1]), [10] * 20, seed=4)
    moved = (found[0] - found[1]).estimate()
    assert (moved.low, moved.value, moved.high) == pytest.approx((0.1, 0.1, 0.1))


def test_errors_say_what_is_missing():
    with pytest.raises(InputError, match=r"one value for each text .* got \(1, 2\) for 3 texts"):
        levels([[0.1, 0.2]], [1, 2, 3])
    with pytest.raises(InputError, match="at least one counted token"):
        levels([[0.1, 0.2]], [0, 0])
    with pytest.raises(InputError, match="level above 0 at coefficient 0"):
        relative(levels([[0.0, 0.0], [0.1, 0.2]], [1, 2]))
    with pytest.raises(InputError, match="expected one number to estimate"):
        levels([[0.1, 0.2], [0.1, 0.2]], [1, 2]).estimate()
    with pytest.raises(InputError, match="accuracy above 0 at coefficient 0, got none"):
        relative_percentages({1.0: ([0.5], [10])})
    with pytest.raises(InputError, match="2 accuracies and 1 numbers"):
        relative_percentages({0.0: ([0.5, 0.1], [10])})


def test_the_papers_percentages_by_hand():
    code = {0.0: ([0.5, 0.9], [100, 300]), 10.0: ([0.4, 0.6], [100, 100]), 20.0: ([0.1, 0.2], [50, 150])}
    found = relative_percentages(code)
    assert found == pytest.approx({0.0: 100.0, 10.0: 62.5, 20.0: 21.875})
    text = {0.0: 100.0, 10.0: 95.0, 20.0: 80.0}
    assert kept_percentage(found, text) == pytest.approx(62.5)
    assert kept_percentage(found, text, level=80) == pytest.approx(21.875)
    assert kept_percentage(found, {0.0: 50.0}) is None
