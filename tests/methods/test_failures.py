"""Each method fails where its docstring says it fails, and does better where it says so."""

import pytest
import torch
from planted import AXES, SITES, activations, draw, planted

from steersman.activations import Activations, Moments
from steersman.errors import InputError, MismatchError
from steersman.gates import fit_gate
from steersman.maths.geometry import auroc, cosine
from steersman.methods import (
    LAT,
    LDA,
    CentredMean,
    LogisticProbe,
    MeanDifference,
    PCACenter,
    PCADiff,
    massive_warning,
)
from tiny import WIDTH, origin

SITE = SITES[0]


def loud(strength=3.0, other=8.0, n=200):
    """Pairs that differ a little by the concept (axis 0) and a lot along an unrelated axis (1), at random."""
    acts = planted(strength, n=n)
    noise = other * draw(11, n, 1) * AXES[1]
    return activations(acts.positive[SITE] + noise, acts.negative[SITE])


def test_the_mean_difference_holds_whatever_else_differs():
    acts = planted(3.0)
    longer = activations(acts.positive[SITE] + 3.0 * AXES[2], acts.negative[SITE])
    vector = MeanDifference().fit(longer).vectors[SITE]
    assert cosine(vector, AXES[2]) == pytest.approx(0.7, abs=0.1)


def test_pca_of_centred_differences_can_be_orthogonal_to_the_mean_difference():
    acts = loud()
    direction, mean = PCADiff().fit(acts), MeanDifference().fit(acts)
    assert abs(cosine(direction.vectors[SITE], AXES[1])) > 0.95
    assert abs(cosine(direction.vectors[SITE], AXES[0])) < 0.2
    assert abs(direction.diagnostics["vote_share"][SITE] - 0.5) < 0.1
    # What is left of the difference is its raw length.
    assert float(direction.vectors[SITE].norm()) < 0.4 * float(mean.vectors[SITE].norm())


def test_pca_follows_a_loud_unrelated_axis_and_the_mean_difference_does_not():
    for method in (PCACenter(), LAT()):
        direction = method.fit(loud())
        assert abs(cosine(direction.vectors[SITE], AXES[1])) > 0.9
        assert direction.diagnostics["vote_share"][SITE] < 0.65
    assert cosine(MeanDifference().fit(loud()).vectors[SITE], AXES[0]) > 0.9
    quiet = PCACenter().fit(loud(other=1.0))
    assert cosine(quiet.vectors[SITE], AXES[0]) > 0.95
    assert quiet.diagnostics["vote_share"][SITE] > 0.95


def test_lat_with_random_partners_fails_where_topics_are_loud_and_pairs_cancel_them():
    topics = 6 * draw(3, 200, 1) * AXES[1]
    acts = planted(3.0, topic=0.1, n=200)
    acts = activations(acts.positive[SITE] + topics, acts.negative[SITE] + topics)
    assert cosine(LAT().fit(acts).vectors[SITE], AXES[0]) > 0.95
    assert abs(cosine(LAT(pairing="random").fit(acts).vectors[SITE], AXES[0])) < 0.3


def test_lat_with_random_partners_needs_no_pairs_where_nothing_else_varies_more():
    shift = 2.0 * AXES[0]
    acts = activations(draw(1, 201, WIDTH) + shift, draw(2, 150, WIDTH) - shift, paired=False)
    direction = LAT(seed=3, pairing="random").fit(acts)
    assert cosine(direction.vectors[SITE], AXES[0]) > 0.95
    assert direction.diagnostics["separation"][SITE] > 0.9


def test_lat_depends_on_its_seed_with_few_pairs_and_on_nothing_else():
    few, many = planted(2.0, n=6), planted(2.0, n=400)
    before = torch.get_rng_state()
    one, other = LAT(seed=1).fit(few).vectors[SITE], LAT(seed=2).fit(few).vectors[SITE]
    assert torch.equal(one, LAT(seed=1).fit(few).vectors[SITE])
    assert cosine(one, other) < 0.999
    assert cosine(LAT(seed=1).fit(many).vectors[SITE], LAT(seed=2).fit(many).vectors[SITE]) > 0.999
    assert torch.equal(before, torch.get_rng_state())


def correlated(n=300, seed=0):
    """Classes that differ along axis 0, with noise shared by axes 0 and 1: reading both cancels it."""
    sides = []
    for which, sign in enumerate((1, -1)):
        common = 3 * draw(seed + which, n, 1) * (AXES[0] + AXES[1])
        sides.append(common + 0.5 * draw(seed + 5 + which, n, WIDTH) + sign * 0.6 * AXES[0])
    return activations(*sides, paired=False)


@pytest.mark.parametrize("method", [LDA(), LogisticProbe(c=1.0)], ids=["lda", "logistic"])
def test_reading_correlated_noise_beats_the_mean_difference_as_a_detector(method):
    better, plain = method.fit(correlated()), MeanDifference().fit(correlated())
    assert better.diagnostics["separation"][SITE] > plain.diagnostics["separation"][SITE] + 0.2
    # And so it points away from where the classes differ: it subtracts what merely correlates.
    assert cosine(better.vectors[SITE], AXES[0]) < 0.85 < cosine(plain.vectors[SITE], AXES[0])
    assert float(better.units(SITE)[1]) < -0.5


def test_lda_runs_from_fisher_to_the_mean_difference():
    acts = correlated()
    mean = MeanDifference().fit(acts).vectors[SITE]
    cosines = [cosine(LDA(shrinkage=s).fit(acts).vectors[SITE], mean) for s in (0.0, 0.1, 0.5, 1.0)]
    assert cosines == sorted(cosines)
    assert cosines[-1] == pytest.approx(1)
    # The length is the distance of the means along it, so at s = 1 it is the mean difference itself.
    torch.testing.assert_close(LDA(shrinkage=1.0).fit(acts).vectors[SITE], mean, rtol=1e-5, atol=1e-6)


def test_lda_without_shrinkage_needs_more_texts_than_coordinates():
    few = planted(n=10)
    for acts in (few, Moments.of(few)):
        with pytest.raises(InputError, match=r"covariance (has no inverse|with an inverse)"):
            LDA(shrinkage=0.0).fit(acts)
    with pytest.raises(InputError, match=r"shrinkage from 0 to 1, got 1\.5"):
        LDA(shrinkage=1.5)


def test_lda_says_how_much_it_shrank():
    few, many = (LDA().fit(correlated(n)).diagnostics["shrinkage"][SITE] for n in (10, 1_000))
    assert few > many > 0
    assert LDA(shrinkage=0.3).fit(planted()).diagnostics["shrinkage"][SITE] == 0.3


def test_a_probe_makes_a_gate():
    """Its vector and bias read log-odds: above zero where the class is the likelier one."""
    acts = correlated()
    direction = LogisticProbe(c=1.0).fit(acts)
    bias = direction.diagnostics["bias"][SITE]
    one = direction.at(SITE)
    fitted = fit_gate(one, acts, measure="probe", bias=bias)
    odds = fitted.gate.read(acts.positive[SITE])
    torch.testing.assert_close(odds, acts.positive[SITE] @ one.vectors[SITE] + bias)
    assert float((odds > 0).float().mean()) > 0.8
    assert float((fitted.gate.read(acts.negative[SITE]) > 0).float().mean()) < 0.2


def test_standardising_keeps_one_massive_coordinate_from_ruling_the_probe():
    """A coordinate of a thousandfold variance that tells nothing beside one that tells all."""
    acts = planted(1.5, n=60, topic=0.2)
    massive = [1_000 * draw(seed, 60, 1) * AXES[5] for seed in (8, 9)]
    acts = activations(acts.positive[SITE] + massive[0], acts.negative[SITE] + massive[1])
    standard, plain = (LogisticProbe(standardise=choice).fit(acts) for choice in (True, False))
    assert standard.diagnostics["separation"][SITE] > plain.diagnostics["separation"][SITE] + 0.1
    assert cosine(standard.vectors[SITE], AXES[0]) > cosine(plain.vectors[SITE], AXES[0])


def test_a_coordinate_that_never_varies_is_left_alone():
    acts = planted(2.0, n=40)
    positive, negative = acts.positive[SITE].clone(), acts.negative[SITE].clone()
    positive[:, 7] = negative[:, 7] = 4.0
    assert float(LogisticProbe().fit(activations(positive, negative)).vectors[SITE][7]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("c", [0.0, -1.0, float("inf"), float("nan")])
def test_a_penalty_must_have_a_strength(c):
    with pytest.raises(InputError, match="positive c"):
        LogisticProbe(c=c)


def test_another_pairing_is_refused():
    bad = LAT()
    object.__setattr__(bad, "pairing", "some")
    with pytest.raises(InputError, match="pairing among pairs, random, got 'some'"):
        bad.__post_init__()


def test_a_centred_mean_without_a_neutral_corpus_is_half_the_mean_difference():
    acts = planted()
    torch.testing.assert_close(CentredMean().fit(acts).vectors[SITE], MeanDifference().fit(acts).vectors[SITE] / 2)


def test_a_centred_mean_takes_out_what_all_texts_share():
    offset = 30 * AXES[4]
    acts = activations(
        draw(1, 80, WIDTH) + offset + 2 * AXES[0], draw(2, 50, WIDTH) + offset + 9 * AXES[1], paired=False
    )
    neutral = {site: (draw(3, 500, WIDTH) + offset).mean(0) for site in SITES}
    direction = CentredMean(neutral).fit(acts)
    assert cosine(direction.vectors[SITE], AXES[0]) > 0.9
    assert "a neutral corpus" in direction.method
    # The negative side, far out along axis 1, has no part in it.
    assert (
        abs(cosine(direction.vectors[SITE], AXES[1]))
        < 0.2
        < abs(cosine(CentredMean().fit(acts).vectors[SITE], AXES[1]))
    )


@pytest.mark.parametrize("neutral", [{SITES[0]: torch.zeros(WIDTH)}, dict.fromkeys(SITES, torch.zeros(WIDTH - 1))])
def test_a_neutral_corpus_must_fit(neutral):
    with pytest.raises(MismatchError, match="neutral corpus's mean of equal width"):
        CentredMean(neutral).fit(planted())


def wide(massive, seed=0, n=24, width=256):
    """Pairs in 256 coordinates, two of which are massive and differ between the classes."""

    concept = draw(seed + 7, width)
    sides = [draw(seed + number, n, width) + sign * concept for number, sign in enumerate((1, -1))]
    sides[0][:, [3, 9]] += massive
    site = SITES[0]
    return concept, Activations({site: sides[0]}, {site: sides[1]}, {site: 5.0}, origin(width=width, n=n))


def test_massive_activations_are_measured_warned_of_and_masked():
    concept, acts = wide(60.0)
    direction = MeanDifference().fit(acts)
    share = direction.diagnostics["massive_share"][SITE]
    assert share > 0.8
    warning = massive_warning(direction)
    assert warning is not None
    assert f"resid_post.0: {share:.0%}" in warning
    assert "more than 20% of the vector's energy" in warning
    assert "may follow massive activations more than the concept" in warning
    masked = direction.masked()
    assert massive_warning(masked) is None
    assert cosine(masked.vectors[SITE], concept) > 0.9 > 0.5 > cosine(direction.vectors[SITE], concept)


def test_an_ordinary_or_narrow_vector_is_not_warned_of():
    assert massive_warning(MeanDifference().fit(wide(0.0)[1])) is None
    # Of 32 coordinates two may hold a fifth by chance; here one holds nearly all.
    assert massive_warning(MeanDifference().fit(planted(9.0))) is None


def test_masking_says_what_it_set_to_zero():
    direction = MeanDifference().fit(wide(60.0)[1])
    masked, chosen = direction.masked(), direction.masked(dimensions=[0, 255])
    assert masked.method == "mean difference, coordinates masked: largest 2"
    assert chosen.method == "mean difference, coordinates masked: 0, 255"
    assert masked.vectors[SITE].nonzero().flatten().tolist() == [i for i in range(256) if i not in (3, 9)]
    assert chosen.vectors[SITE].nonzero().flatten().tolist() == list(range(1, 255))
    kept = direction.vectors[SITE] * (masked.vectors[SITE] != 0)
    assert torch.equal(masked.vectors[SITE], kept)
    assert masked.norms == direction.norms
    assert masked.diagnostics == {}


@pytest.mark.parametrize(
    "arguments",
    [{"count": 0}, {"count": 256}, {"dimensions": []}, {"dimensions": [256]}, {"dimensions": [-1]}],
    ids=str,
)
def test_masking_nothing_or_everything_is_refused(arguments):
    direction = MeanDifference().fit(wide(60.0)[1])
    with pytest.raises(InputError, match="expected some, not all, of coordinates 0 to 255 to mask"):
        direction.masked(**arguments)


def test_masking_two_massive_coordinates_brings_related_vectors_together():
    """Two tasks with one concept between them come out opposed where the massive coordinates differ in sign."""
    one, other = (MeanDifference().fit(wide(massive)[1]) for massive in (60.0, -60.0))
    assert cosine(one.vectors[SITE], other.vectors[SITE]) < -0.5
    assert cosine(one.masked().vectors[SITE], other.masked().vectors[SITE]) > 0.9


def test_separation_by_rank_counts_ties_half():
    positive, negative = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([2.0, 0.0])
    assert auroc(positive, negative) == pytest.approx((0.5 * 2 + 3) / 6)
