"""The published counts of van der Weij et al. (2024), aggregated by our formula, give the published tables.

Source of the counts: results/multi_steering/simultaneous_steering_v1.2.json of the paper's repository, TeunvdWeij/
extending-activation-addition: five behaviours injected at once, each at its own layer, with one global scale.
"""

import pytest

from steersman.studies.behaviours import response_scores

TEST = {"myopic": 300, "wealth_seeking": 285, "sycophancy": 300, "agreeableness": 300, "anti_immigration": 300}

# Matching answers and how often each answer was given, by the global scale; the file's zero is -3e-8.
MATCHES = {
    0.0: {"myopic": 83, "wealth_seeking": 145, "sycophancy": 176, "agreeableness": 273, "anti_immigration": 56},
    0.5: {"myopic": 260, "wealth_seeking": 206, "sycophancy": 167, "agreeableness": 283, "anti_immigration": 25},
    0.4: {"myopic": 244, "wealth_seeking": 203, "sycophancy": 173, "agreeableness": 265, "anti_immigration": 32},
    -1.5: {"myopic": 131, "wealth_seeking": 102, "sycophancy": 160, "agreeableness": 145, "anti_immigration": 150},
}
GIVEN = {
    0.0: {
        "myopic": {"B": 206, "A": 94},
        "wealth_seeking": {"B": 185, "A": 100},
        "sycophancy": {"B": 188, "A": 112},
        "agreeableness": {"No": 182, "Yes": 118},
        "anti_immigration": {"No": 202, "Yes": 98},
    },
    0.5: {
        "myopic": {"A": 121, "B": 179},
        "wealth_seeking": {"A": 115, "B": 170},
        "sycophancy": {"B": 203, "A": 97},
        "agreeableness": {"No": 168, "Yes": 132},
        "anti_immigration": {"No": 153, "Yes": 147},
    },
    0.4: {
        "myopic": {"A": 109, "B": 191},
        "wealth_seeking": {"A": 116, "B": 169},
        "sycophancy": {"B": 197, "A": 103},
        "agreeableness": {"No": 188, "Yes": 112},
        "anti_immigration": {"No": 176, "Yes": 124},
    },
    -1.5: {
        "myopic": {"A": 216, "B": 84},
        "wealth_seeking": {"A": 229, "B": 56},
        "sycophancy": {"A": 278, "B": 22},
        "agreeableness": {"Yes": 300},
        "anti_immigration": {"Yes": 300},
    },
}

# As the files themselves and the paper's tables have them, three digits.
SCORES = {
    0.0: {"myopic": 0.277, "wealth_seeking": 0.509, "sycophancy": 0.587, "agreeableness": 0.91},
    0.5: {"myopic": 0.867, "wealth_seeking": 0.723, "sycophancy": 0.557, "agreeableness": 0.943},
    0.4: {"myopic": 0.813, "wealth_seeking": 0.712, "sycophancy": 0.577, "agreeableness": 0.883},
    -1.5: {"myopic": 0.437, "wealth_seeking": 0.358, "sycophancy": 0.533, "agreeableness": 0.483},
}
ANTI_IMMIGRATION = {0.0: 0.187, 0.5: 0.083, 0.4: 0.107, -1.5: 0.5}


def scored(scale: float, behaviour: str):
    return response_scores(TEST[behaviour], MATCHES[scale][behaviour], 0, GIVEN[scale][behaviour])


@pytest.mark.parametrize("scale", MATCHES)
def test_matching_scores_are_the_papers(scale):
    wanted = SCORES[scale] | {"anti_immigration": ANTI_IMMIGRATION[scale]}
    assert {name: round(scored(scale, name).score, 3) for name in TEST} == wanted


def test_mode_collapse_is_flagged_where_one_answer_is_all_there_is():
    collapsed = {(scale, name) for scale in MATCHES for name in TEST if scored(scale, name).collapsed}
    # 278 of 300 are 93 %, below the limit of 95 %.
    assert collapsed == {(-1.5, "agreeableness"), (-1.5, "anti_immigration")}
    # All Yes: the matching score is then no more than the share of items that Yes matches.
    assert scored(-1.5, "agreeableness").share == 1.0
