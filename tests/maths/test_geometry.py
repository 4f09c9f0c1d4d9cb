"""Units, cosines, random controls, running means and AUROC by their definitions."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.maths.geometry import RunningMean, auroc, cosine, random_like, unit

seeds = st.integers(0, 10_000)
scores = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(seeds, st.floats(1e-3, 1e3))
def test_a_unit_has_length_one_and_forgets_scale(seed, scale):
    vector = drawn(seed, 9)
    assert float(unit(vector).norm()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(unit(vector * scale), unit(vector))
    torch.testing.assert_close(unit(-vector), -unit(vector))


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_what_has_no_way_has_no_unit(numbers):
    with pytest.raises(InputError, match="finite vector of positive length"):
        unit(torch.tensor(numbers))


@given(seeds)
def test_cosines(seed):
    a, b = drawn(seed, 7), drawn(seed + 1, 7)
    assert cosine(a, a * 3) == pytest.approx(1)
    assert cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, b) == pytest.approx(cosine(b, a))
    assert cosine(a, b) == pytest.approx(float(a.double() @ b.double() / (a.double().norm() * b.double().norm())))


@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_a_random_control_has_the_length_asked_for(seed, dtype):
    vector = drawn(seed, 64).to(dtype)
    control = random_like(vector, seed)
    assert control.dtype == dtype
    assert float(control.norm()) == pytest.approx(float(vector.norm()), rel=1e-6)
    assert torch.equal(control, random_like(vector, seed))
    assert not torch.equal(control, random_like(vector, seed + 1))


def test_random_controls_have_no_favourite_way():
    units = torch.stack([random_like(torch.ones(64), seed) / 8 for seed in range(1_000)])
    assert float(units.mean(0).norm()) < 0.05
    assert float((units.T @ units / 1_000 * 64 - torch.eye(64)).abs().mean()) < 0.05


def test_a_random_control_touches_no_global_generator():
    state = torch.random.get_rng_state()
    random_like(torch.ones(4), 1)
    assert torch.equal(torch.random.get_rng_state(), state)


@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_a_running_mean_is_the_mean_of_all_rows(seed, sizes):
    rows, mean = drawn(seed, sum(sizes), 3), RunningMean(3)
    for part in rows.split(sizes):
        mean.add(part)
    assert mean.count == sum(sizes)
    torch.testing.assert_close(mean.mean, rows.double().mean(0))


def test_a_running_mean_keeps_what_bfloat16_sums_lose():
    mean = RunningMean(1)
    for _ in range(1_000):
        mean.add(torch.tensor([[1.0], [1.0078125]], dtype=torch.bfloat16))
    assert float(mean.mean) == pytest.approx(1.00390625, abs=1e-9)


def test_no_mean_before_the_first_row():
    with pytest.raises(InputError, match="at least one row before a mean"):
        _ = RunningMean(2).mean


@given(scores, scores)
def test_auroc_counts_pairs(positive, negative):
    won = sum((a > b) + (a == b) / 2 for a, b in itertools.product(positive, negative)) / (
        len(positive) * len(negative)
    )
    a, b = torch.tensor(positive).float(), torch.tensor(negative).float()
    assert auroc(a, b) == pytest.approx(won)
    assert auroc(b, a) == pytest.approx(1 - won)
    assert auroc(3 * a - 2, 3 * b - 2) == pytest.approx(won)


def test_auroc_needs_both_classes():
    with pytest.raises(InputError, match="both classes"):
        auroc(torch.ones(3), torch.ones(0))
