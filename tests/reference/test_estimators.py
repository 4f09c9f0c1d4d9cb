"""Every estimator against its paper's formula, written plainly with loops and numpy."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from steersman.activations import Activations, Moments
from steersman.methods import LAT, LDA, CentredMean, LogisticProbe, MeanDifference, PCACenter, PCADiff
from steersman.where import Site
from tiny import origin

SITE = Site(2)


def sides(n=40, d=24, seed=0, m=None):
    """Two classes with unlike spread along every axis and a difference between them, float64."""
    generator = np.random.default_rng(seed)
    spread = np.linspace(0.3, 3.0, d)
    shift = generator.normal(size=d)
    topic = generator.normal(size=(n, d)) * spread
    positive = topic + generator.normal(size=(n, d)) + shift * generator.normal(1.0, 0.7, size=(n, 1))
    negative = (topic if m is None else generator.normal(size=(m, d)) * spread) + generator.normal(size=(m or n, d))
    # What the library is given is float32; the formulas get the same numbers.
    return [side.astype(np.float32).astype(np.float64) for side in (positive, negative)]


def recorded(positive, negative, paired=True):
    rows = [{SITE: torch.from_numpy(side).float()} for side in (positive, negative)]
    return Activations(*rows, {SITE: 3.0}, origin(width=positive.shape[1], n=len(positive)), paired)


def fitted(method, positive, negative, paired=True):
    return method.fit(recorded(positive, negative, paired)).vectors[SITE].double().numpy()


def unit(vector):
    return vector / np.sqrt((vector**2).sum())


def first_component(rows, centred):
    """The first principal component by the covariance, summed up row by row."""
    mean = sum(rows) / len(rows) if centred else np.zeros(rows.shape[1])
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for row in rows:
        covariance += np.outer(row - mean, row - mean)
    return np.linalg.eigh(covariance)[1][:, -1]


def by_vote(axis, positive, negative):
    """repeng's sign: turned when more pairs have the positive lower than have it higher."""
    lower = sum(float(p @ axis) < float(n @ axis) for p, n in zip(positive, negative, strict=True))
    higher = sum(float(p @ axis) > float(n @ axis) for p, n in zip(positive, negative, strict=True))
    return -axis if lower > higher else axis


@pytest.mark.parametrize("shape", [(40, 24), (10, 24), (24, 24)])
def test_repeng_pca_diff(shape):
    positive, negative = sides(*shape)
    axis = by_vote(first_component(positive - negative, centred=True), positive, negative)
    np.testing.assert_allclose(unit(fitted(PCADiff(), positive, negative)), axis, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 24), (10, 24), (24, 24)])
def test_repeng_pca_center(shape):
    """Each pair's midpoint is subtracted from both of its texts; then PCA over all texts."""
    positive, negative = sides(*shape)
    rows = []
    for plus, minus in zip(positive, negative, strict=True):
        middle = (plus + minus) / 2
        rows += [plus - middle, minus - middle]
    axis = by_vote(first_component(np.stack(rows), centred=True), positive, negative)
    np.testing.assert_allclose(unit(fitted(PCACenter(), positive, negative)), axis, atol=1e-5)


def test_where_the_vote_and_the_means_disagree_ours_follows_the_means():
    """One pair far ahead against many slightly behind: the majority says one sign, the means the other."""
    positive = np.zeros((9, 24))
    positive[:, 0] = [20.0, *[-1.0] * 8]
    negative = np.zeros((9, 24))
    direction = PCACenter().fit(recorded(positive, negative))
    voted = by_vote(np.eye(24)[0], positive, negative)
    ours = unit(direction.vectors[SITE].double().numpy())
    assert float(ours @ voted) == pytest.approx(-1)
    assert float(ours[0]) == pytest.approx(1)
    assert direction.diagnostics["vote_share"][SITE] == pytest.approx(1 / 9)


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_lat_of_zou_et_al(seed):
    """Differences in random order, their mean subtracted, first component; the labels choose the sign."""
    positive, negative = sides(20)
    coin = torch.randint(2, (20, 1), generator=torch.Generator().manual_seed(seed)).numpy()[:, 0]
    rows = np.stack([(p - n) if c else (n - p) for p, n, c in zip(positive, negative, coin, strict=True)])
    axis = first_component(rows, centred=True)
    axis = axis * np.sign(positive.mean(0) @ axis - negative.mean(0) @ axis)
    np.testing.assert_allclose(unit(fitted(LAT(seed=seed), positive, negative)), axis, atol=1e-5)


def test_lat_with_random_partners():
    positive, negative = sides(21, m=16)
    texts = np.concatenate([positive, negative])
    order = torch.randperm(37, generator=torch.Generator().manual_seed(4)).tolist()
    rows = np.stack([texts[order[2 * i]] - texts[order[2 * i + 1]] for i in range(18)])
    axis = first_component(rows, centred=True)
    axis = axis * np.sign((positive.mean(0) - negative.mean(0)) @ axis)
    ours = fitted(LAT(seed=4, pairing="random"), positive, negative, paired=False)
    np.testing.assert_allclose(unit(ours), axis, atol=1e-5)


def test_mass_mean_of_marks_and_tegmark():
    positive, negative = sides(20, m=15)
    shift = sum(positive) / 20 - sum(negative) / 15
    np.testing.assert_allclose(fitted(MeanDifference(), positive, negative, paired=False), shift, rtol=1e-5, atol=1e-6)


def test_iti_mass_mean_shift_is_the_unit_of_the_mean_difference():
    """Inference-time intervention: theta = mean(true) - mean(false), normalised, times the spread along it."""
    positive, negative = sides(30)
    theta = unit(positive.mean(0) - negative.mean(0))
    direction = MeanDifference().fit(recorded(positive, negative))
    np.testing.assert_allclose(direction.units(SITE).numpy(), theta, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 24, None), (9, 24, None), (40, 24, 12)])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_iti_probe(shape, c):
    """A logistic regression on the coordinates as they are but for one common scale; solved by another algorithm."""
    n, d, m = shape
    positive, negative = sides(n, d, m=m)
    texts, labels = np.concatenate([positive, negative]), [1] * n + [0] * (m or n)
    common = np.sqrt(texts.var(0).mean())
    probe = LogisticRegression(C=c, tol=1e-10, max_iter=50_000).fit(texts / common, labels)
    method = LogisticProbe(c=c, standardise=False)
    direction = method.fit(recorded(positive, negative, paired=m is None))
    np.testing.assert_allclose(direction.vectors[SITE].numpy(), probe.coef_[0] / common, rtol=2e-3, atol=2e-5)
    assert direction.diagnostics["bias"][SITE] == pytest.approx(float(probe.intercept_[0]), abs=1e-3)


def test_standardised_probe():
    positive, negative = sides(30)
    texts, labels = np.concatenate([positive, negative]), [1] * 30 + [0] * 30
    mean, spread = texts.mean(0), texts.std(0)
    probe = LogisticRegression(C=0.3, tol=1e-10, max_iter=50_000).fit((texts - mean) / spread, labels)
    direction = LogisticProbe(c=0.3).fit(recorded(positive, negative))
    odds = probe.decision_function((texts - mean) / spread)
    ours = texts @ direction.vectors[SITE].double().numpy() + direction.diagnostics["bias"][SITE]
    np.testing.assert_allclose(ours, odds, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_probe_penalised_without_end_is_a_mean_difference(standardise):
    positive, negative = sides(30)
    shift = positive.mean(0) - negative.mean(0)
    variance = np.concatenate([positive, negative]).var(0)
    limit = unit(shift / variance if standardise else shift)
    np.testing.assert_allclose(unit(fitted(LogisticProbe(1e-8, standardise), positive, negative)), limit, atol=1e-5)


def pooled(positive, negative):
    return np.concatenate([positive - positive.mean(0), negative - negative.mean(0)])


@pytest.mark.parametrize("shape", [(40, 24, None), (9, 24, None), (30, 24, 11)])
def test_lda_with_the_shrinkage_of_ledoit_and_wolf(shape):
    n, d, m = shape
    positive, negative = sides(n, d, m=m)
    covariance, shrinkage = ledoit_wolf(pooled(positive, negative), assume_centered=True)
    shift = positive.mean(0) - negative.mean(0)
    way = unit(np.linalg.inv(covariance) @ shift)
    acts = recorded(positive, negative, paired=m is None)
    for given in (acts, Moments.of(acts)):
        direction = LDA().fit(given)
        assert direction.diagnostics["shrinkage"][SITE] == pytest.approx(shrinkage, rel=1e-6)
        np.testing.assert_allclose(direction.vectors[SITE].numpy(), way * (way @ shift), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_lda_with_a_stated_shrinkage_is_scikit_learns(shrinkage):
    """Classes of equal size: the covariance is the mean of theirs."""
    positive, negative = sides(40)
    labels = [1] * 40 + [0] * 40
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(
        np.concatenate([positive, negative]), labels
    )
    ours = fitted(LDA(shrinkage=shrinkage), positive, negative)
    np.testing.assert_allclose(unit(ours), unit(peer.coef_[0]), atol=1e-5)


def test_mean_centring_of_jorgensen_et_al():
    positive, _ = sides(20)
    corpus = np.random.default_rng(9).normal(size=(50, 24))
    neutral = sum(corpus) / 50
    method = CentredMean({SITE: torch.from_numpy(neutral)})
    expected = sum(positive) / 20 - neutral
    np.testing.assert_allclose(fitted(method, positive, positive * 0), expected, rtol=1e-5, atol=1e-6)


def test_mean_centring_without_a_corpus_subtracts_the_mean_of_all_texts():
    positive, negative = sides(20, m=60)
    expected = positive.mean(0) - np.concatenate([positive, negative]).mean(0)
    np.testing.assert_allclose(fitted(CentredMean(), positive, negative, paired=False), expected, rtol=1e-5, atol=1e-6)
