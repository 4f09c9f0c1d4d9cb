"""What the unsteered model reads of a growing text: the same as one score over the whole, whatever steers elsewhere."""

import pytest
import torch

from steersman.intervention import steer
from steersman.maths.geometry import unit
from steersman.model.hooks import capturing
from steersman.model.loaded import Model
from steersman.model.score import score_tokens
from steersman.plan import Plan
from steersman.web.following import Follower
from tiny import direction, plan


def rows(model: Model) -> tuple[list[int], list[int]]:
    tokens = list(model.tokenizer("Tell me a story about a fox and a goose.")["input_ids"])
    return tokens[:9], tokens[9:]


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_text_read_in_pieces_reads_as_it_does_in_one(model: Model, steps: int) -> None:
    prompt, text = rows(model)
    follower = Follower(model, prompt, direction(3, [2]))
    for end in [*range(steps, len(text), steps), len(text)]:
        read = follower.follow(text[:end])
        assert len(read) == end
    expected = score_tokens(model, [prompt], [text], [Plan()])[0].tokens
    assert [each.logprob for each in read] == pytest.approx(expected, abs=2e-4)


def test_projections_are_those_of_the_whole_text_in_one_pass(llama: Model) -> None:
    prompt, text = rows(llama)
    along = direction(3, [2])
    found: list[torch.Tensor] = []
    with torch.inference_mode(), capturing(llama, along.sites, lambda _site, hidden, _: found.append(hidden[0])):
        llama.hf(input_ids=torch.tensor([[*prompt, *text]]))
    expected = (found[0].float() @ unit(along.vectors[along.sites[0]]))[len(prompt) :].tolist()
    read = Follower(llama, prompt, along).follow(text)
    assert [each.projection for each in read] == pytest.approx(expected, abs=1e-4)


def test_a_token_is_read_once(llama: Model) -> None:
    prompt, text = rows(llama)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    follower = Follower(llama, prompt, None)
    handle = llama.layout.base.register_forward_pre_hook(count)
    try:
        follower.follow(text[:5])
        assert passes == 1
        follower.follow(text[:5])
        assert passes == 1
        assert follower.follow(text)[0].projection is None
        assert passes == 2
    finally:
        handle.remove()


def test_no_hook_is_left(llama: Model) -> None:
    prompt, text = rows(llama)
    before = [len(block._forward_hooks) for block in llama.layout.blocks]
    Follower(llama, prompt, direction(1, [1])).follow(text)
    assert [len(block._forward_hooks) for block in llama.layout.blocks] == before


def test_what_steers_in_the_same_thread_is_seen_and_gone_after(llama: Model) -> None:
    prompt, text = rows(llama)
    plain = Follower(llama, prompt, None).follow(text)
    with steer(llama, plan(2, [1])):
        inside = Follower(llama, prompt, None).follow(text)
    assert inside != plain
    assert Follower(llama, prompt, None).follow(text) == plain
