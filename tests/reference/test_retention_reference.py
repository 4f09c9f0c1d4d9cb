"""Relative levels and their bootstrap, written out plainly, text by text and draw by draw."""

import numpy as np
import pytest

from steersman.maths import retention
from steersman.maths.retention import along, area, crossing, levels, relative, relative_percentages

COEFFICIENTS = (0.0, 0.1, 0.2, 0.4)


def plain_level(accuracies, tokens):
    right = 0.0
    for accuracy, count in zip(accuracies, tokens, strict=True):
        right += accuracy * count
    return right / sum(tokens)


def plain_crossing(kept, level):
    for i in range(1, len(kept)):
        if kept[i] < level:
            return i - 1 + (kept[i - 1] - level) / (kept[i - 1] - kept[i])
    return len(kept) - 1.0


def made_up(seed, drops):
    generator = np.random.default_rng(seed)
    tokens = generator.integers(20, 90, 24)
    base = generator.uniform(0.3, 0.7, 24)
    return [np.clip(base * drop + generator.normal(0, 0.02, 24), 0, 1).tolist() for drop in drops], tokens.tolist()


def test_every_draw_is_what_a_loop_over_the_drawn_texts_gives(monkeypatch):
    monkeypatch.setattr(retention, "RESAMPLES", 60)
    values, tokens = made_up(1, (1.0, 0.9, 0.7, 0.4))
    others, weights = made_up(2, (1.0, 0.99, 0.93, 0.8))
    x, y = relative(levels(values, tokens, seed=11)), relative(levels(others, weights, seed=12))
    where = crossing(y, 0.9)
    assert where is not None
    at = along(x, where)
    for row, (draw, other) in enumerate(zip(drawn(11, 24, 60), drawn(12, 24, 60), strict=True), start=1):
        level = [plain_level([v[i] for i in draw], [tokens[i] for i in draw]) for v in values]
        kept = [plain_level([v[i] for i in other], [weights[i] for i in other]) for v in others]
        xs, ys = [each / level[0] for each in level], [each / kept[0] for each in kept]
        assert x.rows[row] == pytest.approx(xs)
        place = plain_crossing(ys, 0.9)
        lower = int(place)
        upper = min(lower + 1, 3)
        assert at.rows[row] == pytest.approx(xs[lower] + (place - lower) * (xs[upper] - xs[lower]))
        v, u = [b - a for a, b in zip(xs, ys, strict=True)], [1 - (a + b) / 2 for a, b in zip(xs, ys, strict=True)]
        total = sum((v[i] + v[i + 1]) / 2 * (u[i + 1] - u[i]) for i in range(3))
        assert area(x, y).rows[row] == pytest.approx(total)


def drawn(seed, n, count):
    """The texts of every draw, as numpy's generator gives them."""
    return np.random.default_rng(seed).integers(n, size=(count, n))


def test_the_papers_aggregation_equals_ours_on_the_same_texts():
    values, tokens = made_up(3, (1.0, 0.8, 0.6, 0.2))
    theirs = relative_percentages({c: (v, tokens) for c, v in zip(COEFFICIENTS, values, strict=True)})
    assert list(theirs.values()) == pytest.approx(list(100 * relative(levels(values, tokens)).value))
