"""What is measured once for a model: norms as recording has them, a scale of its own answers, a gate above prompts."""

import pytest

from steersman.model.loaded import Model
from steersman.prompts import Example, passages
from steersman.recording import record_texts
from steersman.web.following import Follower
from steersman.web.scales import EXCERPT, TEXTS, Scales
from steersman.where import Site
from tiny import direction, tiny_model


@pytest.mark.parametrize("chat", [True, False])
def test_norms_are_those_that_recording_finds(chat: bool) -> None:
    model = tiny_model("llama", chat=chat)
    texts = [Example("", item.text[:EXCERPT]) for item in passages("prose", split="validation")[:TEXTS]]
    norms = record_texts(model, texts, texts, span="all").norms
    scales = Scales(model)
    for layer in range(model.depth):
        assert scales.norm(layer) == pytest.approx(norms[Site(layer)], rel=1e-4)


@pytest.mark.parametrize("chat", [True, False])
def test_ordinary_answers_lie_around_the_middle_of_their_scale(chat: bool) -> None:
    model = tiny_model("llama", chat=chat)
    scales, along = Scales(model), direction(3, [2])
    scale = scales.scale(along)
    places = [
        scale.place(read.projection or 0.0)
        for prompt, tokens in scales._answers()
        for read in Follower(model, prompt, along).follow(tokens)
    ]
    mean = sum(places) / len(places)
    assert mean == pytest.approx(0, abs=1e-3)
    assert sum(value**2 for value in places) / len(places) == pytest.approx(1, rel=0.05)
    assert scales.scale(along) is scale


def test_a_gate_fires_on_few_ordinary_prompts_and_is_the_model_s_own(llama: Model) -> None:
    gate = Scales(llama).gate(direction(3, [2]))
    assert gate.site == Site(2)
    assert gate.when == "prompt"
    assert gate.vector.norm().item() == pytest.approx(1, abs=1e-5)
