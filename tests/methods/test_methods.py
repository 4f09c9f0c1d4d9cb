"""Laws of every estimator: it finds what was planted, forgets order and scale, and says how sure it is."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import AXES, SITES, activations, corpora, draw, planted

from steersman.activations import Activations, Moments
from steersman.errors import InputError
from steersman.maths.geometry import auroc, cosine, unit
from steersman.methods import LAT, LDA, METHODS, LogisticProbe, MeanDifference, PCACenter, PCADiff
from tiny import WIDTH

NEED_PAIRS = {"pca_center", "pca_diff", "lat"}
NEED_ROWS = {"lat", "logistic"}
SITE = SITES[0]
seeds = st.integers(0, 1_000)
every = pytest.mark.parametrize("name", METHODS)


def varied(seed=0, n=120):
    """A concept whose strength varies from pair to pair: every method finds it, `pca_diff` too."""
    return planted(strength=4.0, spread=3.0, seed=seed, n=n)


def turned(acts):
    return Activations(acts.negative, acts.positive, acts.norms, acts.origin, acts.paired)


@every
def test_it_finds_a_planted_direction_at_every_site(name):
    direction = METHODS[name]().fit(varied())
    assert direction.sites == list(SITES)
    for site in SITES:
        assert cosine(direction.vectors[site], AXES[0]) > 0.9
        assert direction.vectors[site].dtype == torch.float32
    assert direction.norms == varied().norms
    assert direction.origin == varied().origin


@every
def test_every_figure_of_a_clear_direction_says_so(name):
    figures = {key: values[SITE] for key, values in METHODS[name]().fit(varied()).diagnostics.items()}
    assert figures["separation"] > 0.6  # the topics are three times as strong as the noise
    assert figures["split_half_cosine"] > 0.75
    assert figures["vote_share"] > 0.85
    assert 0.3 < figures["explained_variance"] < 0.9
    assert figures["massive_share"] > 0.75  # it lies along one axis


@every
def test_every_figure_of_noise_says_so(name):
    figures = {key: values[SITE] for key, values in METHODS[name]().fit(planted(strength=0.0)).diagnostics.items()}
    assert abs(figures["separation"] - 0.5) < 0.12
    assert abs(figures["split_half_cosine"]) < 0.75
    assert figures["explained_variance"] < 0.12


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_swapping_the_sides_turns_the_vector(name, seed):
    acts = varied(seed, n=30)
    one, other = METHODS[name]().fit(acts).vectors[SITE], METHODS[name]().fit(turned(acts)).vectors[SITE]
    torch.testing.assert_close(one, -other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"lat"}))  # whose seed's draws fall on other pairs
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_order_of_the_pairs_means_nothing(name, seed):
    acts = varied(seed, n=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    shuffled = activations(acts.positive[SITE][order], acts.negative[SITE][order])
    torch.testing.assert_close(
        METHODS[name]().fit(acts).vectors[SITE], METHODS[name]().fit(shuffled).vectors[SITE], rtol=1e-3, atol=1e-4
    )


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds, scale=st.floats(1e-2, 1e4))
def test_the_vector_scales_with_the_activations(name, seed, scale):
    """In proportion; a probe's, which is log-odds per unit of activation, against it."""
    acts = varied(seed, n=30)
    larger = activations(acts.positive[SITE] * scale, acts.negative[SITE] * scale)
    factor = 1 / scale if name == "logistic" else scale
    one, other = METHODS[name]().fit(acts).vectors[SITE], METHODS[name]().fit(larger).vectors[SITE]
    torch.testing.assert_close(other / factor, one, rtol=1e-3, atol=1e-3)


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_constant_added_to_all_texts_changes_nothing(name, seed):
    acts = varied(seed, n=30)
    offset = 20 * draw(seed + 9, WIDTH)
    moved = activations(acts.positive[SITE] + offset, acts.negative[SITE] + offset)
    one, other = METHODS[name]().fit(acts).vectors[SITE], METHODS[name]().fit(moved).vectors[SITE]
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


ROTATION_FREE = [MeanDifference(), PCACenter(), PCADiff(), LAT(), LDA(), LogisticProbe(standardise=False)]


@pytest.mark.parametrize("method", ROTATION_FREE, ids=repr)
def test_the_choice_of_axes_means_nothing(method):
    acts = varied(n=40)
    rotation = torch.linalg.qr(draw(5, WIDTH, WIDTH)).Q
    rotated = activations(acts.positive[SITE] @ rotation, acts.negative[SITE] @ rotation)
    torch.testing.assert_close(
        method.fit(rotated).vectors[SITE], method.fit(acts).vectors[SITE] @ rotation, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("logistic", "centred_mean")])
def test_the_raw_length_is_the_distance_of_the_means_along_it(name):
    acts = varied()
    vector = METHODS[name]().fit(acts).vectors[SITE].double()
    shift = acts.differences(SITE).mean(0)
    assert float(unit(vector) @ shift) == pytest.approx(float(vector.norm()), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NEED_ROWS])
@pytest.mark.parametrize("n", [30, 31, 120])
def test_moments_give_what_rows_give(name, n):
    acts = varied(n=n)
    rows, moments = METHODS[name]().fit(acts), METHODS[name]().fit(Moments.of(acts))
    for site in SITES:
        assert cosine(rows.vectors[site], moments.vectors[site]) > 1 - 1e-9
        assert float(moments.vectors[site].norm() / rows.vectors[site].norm()) == pytest.approx(1, abs=1e-6)
        for figure, values in moments.diagnostics.items():
            assert values[site] == pytest.approx(rows.diagnostics[figure][site], abs=1e-6)
    assert set(rows.diagnostics) - set(moments.diagnostics) == {"vote_share", "separation"}


@pytest.mark.parametrize("name", ["mean_difference", "lda", "centred_mean"])
def test_moments_of_corpora_give_what_their_rows_give(name):
    acts = corpora()
    rows, moments = METHODS[name]().fit(acts), METHODS[name]().fit(Moments.of(acts))
    torch.testing.assert_close(rows.vectors[SITE], moments.vectors[SITE], rtol=1e-5, atol=1e-6)
    explained = [direction.diagnostics["explained_variance"][SITE] for direction in (rows, moments)]
    assert explained[0] == pytest.approx(explained[1], rel=1e-6)


def test_means_alone_are_enough_for_the_mean_difference():
    means = Moments.of(varied(), second=False)
    direction = MeanDifference().fit(means)
    torch.testing.assert_close(direction.vectors[SITE], MeanDifference().fit(varied()).vectors[SITE])
    assert set(direction.diagnostics) == {"massive_share", "split_half_cosine"}


@pytest.mark.parametrize("name", ["pca_center", "pca_diff", "lda"])
def test_means_alone_are_refused_where_second_moments_are_needed(name):
    with pytest.raises(InputError, match=r"at resid_post\.0: expected moments with second moments.*second=True"):
        METHODS[name]().fit(Moments.of(varied(), second=False))


@pytest.mark.parametrize("name", NEED_ROWS)
def test_moments_are_refused_where_single_texts_are_needed(name):
    with pytest.raises(InputError, match=r"expected stored activations, got moments.*record\(\)"):
        METHODS[name]().fit(Moments.of(varied()))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NEED_PAIRS])
def test_corpora_of_unlike_size_will_do(name):
    acts = corpora()
    direction = METHODS[name]().fit(acts)
    # A strongly penalised probe of standardised coordinates tilts away from the one of largest variance, the concept's.
    assert cosine(direction.vectors[SITE], AXES[0]) > (0.8 if name == "logistic" else 0.9)
    along = [side[SITE].double() @ direction.vectors[SITE].double() for side in (acts.positive, acts.negative)]
    assert direction.diagnostics["vote_share"][SITE] == pytest.approx(auroc(*along))
    assert direction.diagnostics["separation"][SITE] > 0.9


@pytest.mark.parametrize("name", NEED_PAIRS)
def test_corpora_are_refused_where_pairs_are_needed(name):
    for acts in (corpora(), Moments.of(corpora())):
        with pytest.raises(InputError, match=r"expected (pairs, got two corpora|stored activations)"):
            METHODS[name]().fit(acts)


@every
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_pairs_give_fewer_figures_and_never_a_nan(name, n):
    acts = varied(n=n)
    needs_two = name in ("pca_diff", "lat", "lda")
    if n == 1 and needs_two:
        with pytest.raises(InputError, match=r"expected (at least 2|texts that differ)"):
            METHODS[name]().fit(acts)
        return
    direction = METHODS[name]().fit(acts)
    figures = {key: values[SITE] for key, values in direction.diagnostics.items()}
    assert ("separation" in figures) == ("split_half_cosine" in figures) == (n >= 4)
    assert {"vote_share", "explained_variance", "massive_share"} <= set(figures)
    for key, value in figures.items():
        low, high = {"split_half_cosine": (-1 - 1e-9, 1 + 1e-9), "bias": (-1e9, 1e9)}.get(key, (0, 1))
        assert low <= value <= high, key


@every
def test_texts_that_do_not_differ_are_refused(name):
    same = activations(torch.ones(6, WIDTH), torch.ones(6, WIDTH))
    with pytest.raises(InputError, match=r"expected .*(differ|positive length)"):
        METHODS[name]().fit(same)


@every
def test_a_half_without_a_direction_is_no_evidence(name):
    """Pairs 1, 3, 5, ... are equal on both sides: nothing can be fitted to them."""
    acts = varied(n=40)
    positive = acts.positive[SITE].clone()
    positive[1::2] = acts.negative[SITE][1::2]
    figures = METHODS[name]().fit(activations(positive, acts.negative[SITE])).diagnostics
    assert figures["split_half_cosine"][SITE] == pytest.approx(0.0, abs=1e-6)
    assert figures["separation"][SITE] == pytest.approx(0.5)


def test_explained_variance_of_corpora_is_that_of_all_cross_pairs():
    acts = corpora(n=7, m=5)
    direction = MeanDifference().fit(acts)
    crossed = torch.stack(
        [one - other for one, other in itertools.product(acts.positive[SITE].double(), acts.negative[SITE].double())]
    )
    part = float(((crossed @ direction.units(SITE).double()) ** 2).sum() / (crossed**2).sum())
    assert direction.diagnostics["explained_variance"][SITE] == pytest.approx(part, rel=1e-6)


def test_votes_count_pairs_and_ties_half():
    steps = torch.tensor([1.0, 2.0, 0.0, -1.0, 3.0])
    negative = torch.zeros(5, WIDTH)
    direction = MeanDifference().fit(activations(negative + steps[:, None] * AXES[0], negative))
    assert direction.diagnostics["vote_share"][SITE] == pytest.approx(3.5 / 5)


def test_held_out_figures_fall_where_the_fit_has_memorised():
    """Sixteen pairs of noise in 32 coordinates: a probe tells them apart perfectly, and knows nothing."""
    noise = activations(draw(1, 16, WIDTH), draw(2, 16, WIDTH))
    direction = LogisticProbe(c=100.0).fit(noise)
    along = [side[SITE] @ direction.vectors[SITE] for side in (noise.positive, noise.negative)]
    assert auroc(*along) > 0.99
    assert direction.diagnostics["separation"][SITE] < 0.75


def test_a_registry_of_seven_makes_each_without_arguments():
    assert len(METHODS) == 7
    words = {METHODS[name]().fit(varied(n=12)).method for name in METHODS}
    assert len(words) == 7


def test_settings_are_in_the_method_words():
    acts = varied(n=12)
    assert LAT(seed=7).fit(acts).method == "LAT, own pairs, seed 7"
    assert LDA(shrinkage=0.25).fit(acts).method == "LDA, shrinkage 0.25"
    assert "C 0.5, not standardised" in LogisticProbe(c=0.5, standardise=False).fit(acts).method


def test_moments_must_fit_together():
    moments = Moments.of(varied())
    with pytest.raises(InputError, match="the same sites in both halves"):
        replace(moments, odd={SITE: moments.odd[SITE]})
