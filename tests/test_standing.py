"""What is said of a vector beside a prompt and its controls: the sentence follows the paired intervals."""

from dataclasses import replace

import pytest

from steersman.errors import InputError
from steersman.standing import Aim, against_controls, against_prompt
from steersman.summary import Measured
from steersman.tasks import Metric, Outcome, Setting

N = 60
GAIN, COST = Aim("task", "hit", "higher", "refusals"), Aim("task", "loss", "lower")


class Task:
    name = "task"
    metrics = (Metric("hit", "rate", ""), Metric("loss", "mean", "nats"))
    items = ()

    def remarks(self, outcomes):
        return []


def arm(name, hits, loss=0.0, coefficient=0.3, seed=None):
    """Return a setting under which the first so many items are hits; the loss varies by item about its level."""
    steers = name not in ("unsteered", "prompt")
    setting = Setting(name, site="resid_post.1" if steers else None, coefficient=coefficient * steers, seed=seed)
    rows = [{"hit": float(i < hits), "loss": loss + (i * 7 + hits) % 11 / 20} for i in range(N)]
    return Measured(Task(), setting, [Outcome(str(i), row) for i, row in enumerate(rows)])


@pytest.mark.parametrize(
    ("steered", "prompt", "words", "sign"),
    [
        ((10, 0.0), (40, 0.0), "The vector loses to the prompt: refusals -50.0 points [-", -1),
        ((40, 0.0), (10, 0.0), "The vector beats the prompt: refusals +50.0 points [+", 1),
        ((20, 0.0), (21, 0.0), "Vector and prompt cannot be told apart at this n: refusals -1.7 points [-", 0),
        ((20, 0.0), (20, 0.5), "costs less than the prompt; what they gain cannot be told apart at this n: refus", 1),
        ((20, 0.5), (20, 0.0), "The vector loses to the prompt: refusals +0.0 points [-", -1),
        ((40, 0.5), (10, 0.0), "each win: the vector on refusals, the prompt on task loss (refusals +50.0 points", 0),
    ],
)
def test_the_sentence_against_the_prompt(steered, prompt, words, sign):
    found = against_prompt([arm("unsteered", 5), arm("steered", *steered), arm("prompt", *prompt)], GAIN, [COST])
    assert words in found.sentence
    assert (found.sign, len(found.margins)) == (sign, 2)
    assert found.sentence.count(f"n = {N}") == 2


def test_a_cost_is_shown_as_it_counts_and_judged_as_it_should_go():
    found = against_prompt([arm("steered", 20, 0.5), arm("prompt", 20)], GAIN, [COST])
    assert "task loss +0.50 nats [+0.50, +0.50]" in found.sentence
    assert found.margins[1].ahead.value == pytest.approx(-0.5)


def test_more_metrics_make_wider_intervals():
    measured = [arm("steered", 20), arm("prompt", 12)]
    one, two = (against_prompt(measured, GAIN, costs).margins[0].ahead for costs in ([], [COST]))
    assert two.low < one.low < one.high < two.high


def test_the_strongest_or_the_named_setting_is_compared():
    weak, strong = arm("steered", 10, coefficient=0.1), arm("steered", 40, coefficient=-0.6)
    measured = [weak, strong, arm("prompt", 25)]
    assert against_prompt(measured, GAIN).sign == 1
    assert against_prompt(measured, GAIN, setting=weak.setting).sign == -1
    with pytest.raises(InputError, match="a setting that was measured on task hit, got steered at elsewhere"):
        against_prompt(measured, GAIN, setting=Setting("steered", site="elsewhere", coefficient=1.0))


def test_nothing_is_said_of_what_was_not_measured():
    assert against_prompt([arm("steered", 10)], GAIN) is None
    assert against_prompt([arm("prompt", 10)], GAIN) is None
    assert against_prompt([arm("steered", 10), arm("prompt", 5)], Aim("task", "other")) is None
    assert against_controls([arm("steered", 10), arm("prompt", 5)], GAIN) is None
    assert against_controls([arm("steered", 10), arm("random", 5, coefficient=0.9)], GAIN) is None
    found = against_prompt([arm("steered", 40), arm("prompt", 5)], GAIN, [Aim("else", "loss", "lower")])
    assert len(found.margins) == 1


def test_better_than_every_control_names_the_next():
    controls = [arm("random", 5, seed=1), arm("random", 12, seed=2), arm("permuted", 3, seed=1), arm("negated", 0)]
    found = against_controls([arm("steered", 40), *controls], GAIN)
    assert found.sign == 1
    assert (
        "better than every control of equal norm; next to it, a random direction (seed 2): refusals +46.7 points"
        in (found.sentence)
    )


def test_no_better_than_one_control_is_no_better():
    found = against_controls([arm("steered", 20), arm("random", 3, seed=1), arm("shuffled", 19, seed=1)], GAIN)
    assert found.sign == 0
    assert found.sentence.startswith(
        "The vector is no better than one fitted to shuffled labels (seed 1): refusals +1.7"
    )


def test_worse_than_a_control_is_said():
    found = against_controls([arm("steered", 5), arm("random", 3, seed=1), arm("permuted", 40)], GAIN)
    assert found.sign == -1
    assert found.sentence.startswith("The vector does worse than its own coordinates permuted: refusals -58.3 points")


def test_the_steered_setting_beside_the_controls_is_the_one_compared():
    measured = [arm("steered", 5, coefficient=0.9), arm("steered", 40, coefficient=0.3), arm("random", 5, seed=1)]
    assert against_controls(measured, GAIN).sign == 1


@pytest.mark.parametrize(("n", "sign"), [(1, 0), (5, 0), (6, -1)])
def test_a_few_equal_differences_decide_nothing(n, sign):
    """Five signs that are alike come about by chance in 1 of 16 studies, six in 1 of 32."""
    measured = [replace(each, outcomes=each.outcomes[:n]) for each in (arm("steered", 20, 0.5), arm("prompt", 20))]
    found = against_prompt(measured, COST)
    assert found.sign == sign
    assert ("cannot be told apart" in found.sentence) == (sign == 0)
    assert f"+0.50 nats [{'+0.50' if sign else '+0.00'}, +0.50], n = {n}" in found.sentence


def test_of_two_opposite_strengths_the_positive_one_is_compared_as_it_has_the_controls():
    measured = [arm("steered", 5, coefficient=-0.3), arm("steered", 40, coefficient=0.3), arm("prompt", 20)]
    assert against_prompt(measured, GAIN).sign == 1
    drawn = [arm("random", 10, coefficient=c, seed=1) for c in (-0.3, 0.3)]
    assert against_controls([*measured, *drawn], GAIN).sign == 1
