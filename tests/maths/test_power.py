"""What n items resolve: textbook sizes, simulated power, and sentences that keep width and power apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.power import (
    half_width,
    mean_power,
    mean_resolution,
    paired_power,
    paired_resolution,
    resolution,
    resolved,
)
from steersman.maths.significance import mcnemar, sign_flips


def test_resolution_is_the_textbook_sample_size_turned_round():
    # (1.96 + 0.8416)^2 * 2 * 0.25 / 0.2^2 = 98.1: about 98 items a group tell 40 % from 60 % (unpooled worst case).
    assert resolution(98) == pytest.approx(0.2, abs=1e-3)
    assert resolution(400) == pytest.approx(resolution(100) / 2)
    assert resolution(60, rate=0.05) < resolution(60)
    assert resolution(1) == 1.0
    with pytest.raises(InputError, match="at least one item, got 0"):
        resolution(0)


def test_a_difference_of_the_resolution_is_seen_four_times_in_five():
    draw, n = np.random.default_rng(3), 200
    shift = resolution(n)
    high, low = (draw.binomial(n, 0.5 + sign * shift / 2, 4_000) / n for sign in (1, -1))
    error = np.sqrt((high * (1 - high) + low * (1 - low)) / n)
    assert np.mean((high - low) / error > 1.96) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("n", "difference", "discordance"), [(60, 0.2, 0.4), (100, -0.1, 0.15), (30, 0.3, 0.3)])
def test_paired_power_is_how_often_mcnemars_test_finds_it(n, difference, discordance):
    draw = np.random.default_rng(n)
    changed = draw.binomial(n, discordance, 5_000)
    gained = draw.binomial(changed, (discordance + difference) / 2 / discordance)
    found = np.mean([mcnemar(int(g), int(c - g)) <= 0.05 for g, c in zip(gained, changed, strict=True)])
    assert paired_power(n, difference, discordance) == pytest.approx(found, abs=0.02)


@given(st.integers(1, 150), st.floats(0.0, 1.0))
def test_where_nothing_differs_power_is_the_error_rate_at_most(n, discordance):
    assert 0 <= paired_power(n, 0.0, discordance) <= 0.05


@pytest.mark.parametrize("discordance", [0.05, 0.2, 0.5])
def test_the_paired_resolution_has_the_power_and_nothing_smaller_has(discordance):
    size = paired_resolution(80, discordance)
    assert paired_power(80, size, max(size, discordance)) == pytest.approx(0.8, abs=0.02)
    assert paired_power(80, 0.9 * size, max(0.9 * size, discordance)) < 0.8
    assert paired_resolution(320, discordance) < size


def test_five_items_resolve_nothing():
    found = resolved(5, 0.2)  # even 5 of 5 has p = 0.0625
    assert found.difference == 1.0
    assert "no true difference, however large, is found in 80% of studies" in found.words


def test_mean_power_is_how_often_the_sign_flip_test_finds_it():
    draw = np.random.default_rng(8)
    columns = [draw.normal(0.2, 0.7, 60).tolist() for _ in range(2_000)]
    found = np.mean([p <= 0.05 for p in sign_flips(columns, draws=1_000)])
    assert mean_power(60, 0.2, 0.7) == pytest.approx(found, abs=0.03)
    assert mean_power(60, mean_resolution(60, 0.7), 0.7) == pytest.approx(0.8, abs=1e-6)
    assert mean_power(60, 0.0, 0.7) == pytest.approx(0.05)


def test_the_sentence_keeps_the_interval_and_the_power_apart():
    found = resolved(60)
    assert found.words == (
        "n = 60: a difference of two independent rates near one half has an interval of ±18 points; a true difference "
        "of 26 points is found in 80% of studies"
    )
    assert found.half_width == half_width(60) == pytest.approx(1.96 * (0.5 / 60) ** 0.5, rel=1e-4)
    assert "on the same items, of which 20% change, has an interval of ±11 points" in resolved(60, 0.2).words
    assert "±1.4 points" in resolved(2_000, 0.1).words


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resolved(0), "at least one item, got 0"),
        (lambda: resolved(10, 1.5), "a share from 0 to 1, got 1.5"),
        (lambda: paired_power(10, 0.5, 0.2), "a discordance of at least the difference, got 0.2 and 0.5"),
        (lambda: mean_power(1, 0.5, 1.0), "at least 2 items and a positive deviation, got 1 and 1.0"),
    ],
)
def test_impossible_questions_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
