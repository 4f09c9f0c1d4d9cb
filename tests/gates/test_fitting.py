"""Gates as values: what they read, when they fire, and thresholds fitted for a false-positive rate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.activations import Activations
from steersman.errors import InputError
from steersman.gates import Gate, fit_gate, gate_rates
from steersman.where import Site
from tiny import WIDTH, direction, origin

SITE = Site(1)


def activations(seed=0, gap=2.0, n=200):
    """Labelled texts: the positives lie further along the direction by `gap`."""
    generator = torch.Generator().manual_seed(seed)
    along = direction(1).units(SITE)
    positive, negative = (torch.randn(n, WIDTH, generator=generator) for _ in range(2))
    return Activations({SITE: positive + gap * along}, {SITE: negative}, {SITE: 6.0}, origin(n=n), paired=False)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1_000), st.floats(0, 0.99), st.integers(1, 60), st.sampled_from(["projection", "cosine", "probe"])
)
def test_no_more_than_the_stated_share_of_negatives_fires(seed, rate, n, measure):
    held = activations(seed, n=n)
    fit = fit_gate(direction(1), held, rate, measure=measure, bias=0.3)
    fired = float(fit.gate.fires(held.negative[SITE]).float().mean())
    assert fired <= rate + 1e-6
    assert fit.rates.false_positive.value == pytest.approx(fired)
    # It is the lowest such threshold: below the next reading under it, one more would come through.
    readings = fit.gate.read(held.negative[SITE]).sort(descending=True).values
    both = torch.cat([readings, fit.gate.read(held.positive[SITE])])
    assert float(both[both < fit.gate.threshold].max()) == float(readings[int(rate * n)])
    assert fit.rates.false_positive.n == n


def test_equal_readings_do_not_let_more_through():
    rows = torch.ones(10, WIDTH)
    held = Activations({SITE: 2 * rows}, {SITE: rows}, {SITE: 6.0}, origin(n=10))
    fit = fit_gate(direction(1), held, 0.3)
    assert fit.rates.false_positive.value == 0
    sign = float(direction(1).vectors[SITE].sum())
    assert fit.rates.true_positive.value == (1.0 if sign > 0 else 0.0)


def test_the_rates_on_other_texts_are_near_and_have_their_interval():
    fit = fit_gate(direction(1), activations(0, gap=4.0, n=400), 0.05)
    rates = gate_rates(fit.gate, activations(1, gap=4.0, n=400))
    assert rates.false_positive.value < 0.1
    assert rates.false_positive.low < 0.05 < rates.false_positive.high
    assert rates.true_positive.value > 0.9
    assert rates.auroc > 0.98
    assert "at most 5% asked for" in fit.status
    assert "of 400 negative texts" in fit.status


def test_a_gate_that_fires_below_turns_the_rates_round():
    held = activations(0, gap=3.0)
    gate = fit_gate(direction(1), held, 0.1).gate
    turned = Gate(gate.site, gate.vector, gate.threshold, below=True)
    plain, other = gate_rates(gate, held), gate_rates(turned, held)
    assert other.true_positive.value == pytest.approx(1 - plain.true_positive.value)
    assert other.auroc == pytest.approx(1 - plain.auroc)
    assert turned.digest != gate.digest


def test_readings_are_their_formulas():
    rows, vector = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(3)), direction(1).vectors[SITE]
    dots = rows @ vector
    for measure, expected in (
        ("projection", dots / vector.norm()),
        ("cosine", torch.cosine_similarity(rows, vector[None])),
        ("probe", dots - 0.7),
    ):
        gate = Gate(SITE, vector, 0.1, measure=measure, bias=-0.7)
        torch.testing.assert_close(gate.read(rows), expected)
        assert torch.equal(gate.fires(rows), gate.read(rows) > 0.1)
    assert float(Gate(SITE, vector, 0.0, measure="cosine").read(torch.zeros(1, WIDTH))) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit_gate(direction(1, [1, 2]), activations()), "one site for a gate, got 2"),
        (lambda: fit_gate(direction(1), activations(), 1.0), "false-positive rate from 0 to 1, 1 left out, got 1.0"),
        (lambda: fit_gate(direction(1, [2]), activations()), r"activations at resid_post\.2.*got resid_post\.1"),
        (lambda: Gate(SITE, torch.zeros(4), 0.0), "positive length"),
        (lambda: Gate(SITE, torch.tensor([1.0, float("nan")]), 0.0), "finite numbers"),
        (lambda: Gate(SITE, torch.ones(4), float("inf")), "finite threshold"),
    ],
)
def test_what_is_no_gate_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
