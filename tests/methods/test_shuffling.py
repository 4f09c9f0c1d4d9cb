"""Shuffled labels: the same rows, mixed sides, and nothing left of what was planted."""

import pytest
import torch
from planted import AXES, SITES, activations, corpora, draw, planted

from steersman.activations import Moments
from steersman.errors import InputError
from steersman.maths.geometry import cosine
from steersman.methods import LogisticProbe, MeanDifference
from steersman.methods.shuffling import shuffle_labels


def rows(*sides):
    return sorted(map(tuple, torch.cat(sides).tolist()))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 3, 30, 31])
def test_of_pairs_half_are_swapped_at_every_site_alike(n, seed):
    before = planted(n=n)
    after = shuffle_labels(before, seed)
    swapped = (after.positive[SITES[0]] == before.negative[SITES[0]]).all(1)
    assert int(swapped.sum()) in {n // 2, (n + 1) // 2}
    for site in SITES:
        assert torch.equal(
            after.positive[site], torch.where(swapped[:, None], before.negative[site], before.positive[site])
        )
        assert torch.equal(
            after.negative[site], torch.where(swapped[:, None], before.positive[site], before.negative[site])
        )
    assert (after.paired, after.norms, after.origin) == (True, before.norms, before.origin)


@pytest.mark.parametrize("seed", range(5))
def test_of_corpora_both_sides_are_mixed_alike(seed):
    before = corpora(n=150, m=90)
    after = shuffle_labels(before, seed)
    for site in SITES:
        assert len(after.positive[site]) == 150
        assert rows(after.positive[site], after.negative[site]) == rows(before.positive[site], before.negative[site])
        moved = len(set(rows(after.positive[site])) & set(rows(before.negative[site])))
        assert moved / 150 == pytest.approx(90 / 240, abs=0.01)


@pytest.mark.parametrize("acts", [planted(strength=3.0, n=40), corpora()])
@pytest.mark.parametrize("method", [MeanDifference(), LogisticProbe()])
def test_nothing_is_left_of_what_was_planted(acts, method):
    true = method.fit(acts).vectors[SITES[0]]
    assert cosine(true, AXES[0]) > 0.5
    found = [cosine(method.fit(shuffle_labels(acts, seed)).vectors[SITES[0]], AXES[0]) for seed in range(8)]
    assert max(map(abs, found)) < 0.6
    assert abs(sum(found) / 8) < 0.3


def test_pairs_that_differ_in_nothing_but_the_concept_leave_no_trace_of_it():
    """By a coin for every pair, the fitted vector would be the true one or its opposite, however weak."""
    topics = draw(5, 30, AXES.shape[1])
    acts = activations(topics + AXES[0] + 0.01 * draw(6, 30, AXES.shape[1]), topics - AXES[0])
    for seed in range(8):
        assert abs(cosine(MeanDifference().fit(shuffle_labels(acts, seed)).vectors[SITES[0]], AXES[0])) < 0.7


def test_the_seed_decides_and_the_global_generator_stays():
    acts, state = planted(n=20), torch.random.get_rng_state()
    one, again, other = (shuffle_labels(acts, seed).positive[SITES[0]] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_shuffled_is_refused():
    with pytest.raises(InputError, match="stored activations to shuffle, got moments"):
        shuffle_labels(Moments.of(planted(n=8)), 0)
    with pytest.raises(InputError, match="at least 2 pairs, or texts a side, to shuffle the labels of, got 1"):
        shuffle_labels(planted(n=1), 0)
