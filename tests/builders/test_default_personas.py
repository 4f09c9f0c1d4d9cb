"""The persona recipe on the real default model: two words make a direction that does what they say."""

import pytest

from steersman.builders import persona_pairs
from steersman.methods import MeanDifference
from steersman.model.load import load
from steersman.plan import Plan
from steersman.recording import record

PROMPTS = ("How was your day?", "Tell me about the sea.", "What is your flat like?")
GLAD, GRIM = " It is wonderful, and I am so happy about it!", " It is dreadful, and I despair of it all."
LAYER, COEFFICIENT = 12, 0.25


@pytest.mark.slow
def test_a_concept_steers_both_ways_and_a_random_direction_does_not():
    model = load("default", device="cpu")
    pairs = persona_pairs("cheerful", "gloomy", limit=48)
    direction = MeanDifference().fit(record(model, pairs, span="end", layers=[LAYER]))

    def leaning(chosen, coefficient):
        """Mean log-probability per token of the glad answer minus that of the grim one, nats, over the prompts."""
        plan = Plan(chosen, coefficient=coefficient)
        scores = model.score([p for p in PROMPTS for _ in range(2)], [GLAD, GRIM] * len(PROMPTS), plan)
        return sum(glad.mean - grim.mean for glad, grim in zip(scores[::2], scores[1::2], strict=True)) / len(PROMPTS)

    plain = leaning(direction, 0.0)
    up, down = leaning(direction, COEFFICIENT) - plain, leaning(direction, -COEFFICIENT) - plain
    assert up > 0.4  # 0.67 when this was written
    assert down < -0.6  # -1.03
    for seed in range(3):
        control = direction.random(seed)
        assert abs(leaning(control, COEFFICIENT) - plain) < up
        assert abs(leaning(control, -COEFFICIENT) - plain) < -down
