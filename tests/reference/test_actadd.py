"""Activation addition as its paper says it, written plainly, against `word_pair`.

Turner et al. (2023), section 3.2: read both prompts at a block's input, the shorter one filled with spaces; subtract;
add c times the difference to the first positions of the text at that block's input.
"""

import pytest
import torch

from steersman.errors import InputError
from steersman.intervention import steer
from steersman.recipes import word_pair
from steersman.where import Site
from tiny import VOCABULARY

LAYER, COEFFICIENT, TEXT = 2, 3.0, "I went up to my friend and said"


def tokens(text):
    return [VOCABULARY["<bos>"], *(VOCABULARY[letter] for letter in text)]


def residual_in(model, row):
    """What enters block `LAYER`, by the library's own account."""
    found = model.hf(torch.tensor([row]), output_hidden_states=True, use_cache=False)
    return found.hidden_states[LAYER][0]


@torch.inference_mode()
def logits_by_hand(model, positive, negative, start=0):
    longest = max(len(positive), len(negative))
    difference = residual_in(model, tokens(positive.ljust(longest))) - residual_in(
        model, tokens(negative.ljust(longest))
    )

    def add(_module, arguments):
        hidden = arguments[0].clone()
        reach = hidden[:, start : start + len(difference)]
        reach += COEFFICIENT * difference[: reach.shape[1]]
        return (hidden, *arguments[1:])

    with model.layout.blocks[LAYER].register_forward_pre_hook(add):
        return model.hf(torch.tensor([tokens(TEXT)])).logits


@torch.inference_mode()
def logits_by_plan(model, plan):
    with steer(model, plan):
        return model.hf(torch.tensor([tokens(TEXT)])).logits


@pytest.mark.parametrize(("positive", "negative"), [("Love", "Hate"), ("Weddings", "War"), ("so", "so very")])
@pytest.mark.parametrize("start", [0, 4])
def test_the_plan_does_what_the_paper_writes(bare, positive, negative, start):
    plan = word_pair(bare, positive, negative, LAYER, coefficient=COEFFICIENT, start=start)
    steered, by_hand = logits_by_plan(bare, plan), logits_by_hand(bare, positive, negative, start)
    assert torch.allclose(steered, by_hand, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(steered, bare.hf(torch.tensor([tokens(TEXT)])).logits, atol=1e-2)


def test_one_step_for_every_position_where_the_words_differ(llama):
    plan = word_pair(llama, "so", "so very", LAYER)
    # <bos> s o | _ v e r y: the space that fills meets a space first.
    assert [str(step.span) for step in plan] == [f"positions({i})" for i in (4, 5, 6, 7)]
    assert {(step.site, step.unit, step.coefficient) for step in plan} == {(Site(LAYER, "resid_pre"), "raw", 1.0)}


def test_turned_round_it_is_the_negative(llama):
    one, other = word_pair(llama, "Love", "Hate", LAYER), word_pair(llama, "Hate", "Love", LAYER)
    both = logits_by_plan(llama, one + other)
    assert torch.allclose(both, llama.hf(torch.tensor([tokens(TEXT)])).logits, atol=1e-4)


def test_in_norm_units_every_step_is_as_long_as_the_words_activations(llama):
    plan = word_pair(llama, "Love", "Hate", 0.5, point="resid_post", unit="norm", coefficient=0.5)
    with torch.inference_mode():
        rows = [llama.hf.model(torch.tensor([tokens(word)]), output_hidden_states=True) for word in ("Love", "Hate")]
        norm = torch.stack([row.hidden_states[3][0, 1:].norm(dim=-1) for row in rows]).mean()
    assert [step["length"] for step in plan.describe()] == pytest.approx([0.5 * float(norm)] * 4, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("Love", "Love", 1), {}, "expected two texts of different tokens, got 'Love' and 'Love'"),
        (("so", "so ", 1), {}, "expected two texts of different tokens, got 'so' and 'so '"),
        (("", "Hate", 1), {}, "expected a completion of at least one token, got ''"),
        (("Love", "Hate", 9), {}, "expected a layer from -4 to 3, got 9"),
        (("Love", "Hate", 1), {"start": -1}, "expected a start of at least 0, got -1"),
        (("Love", "Hate", 1), {"point": "head"}, "expected a point of the residual stream or a part"),
        (("Love", "Hate", 1), {"unit": "volts"}, "expected a unit among norm, raw, got 'volts'"),
    ],
)
def test_what_makes_no_pair_is_refused(llama, arguments, settings, message):
    with pytest.raises(InputError, match=message):
        word_pair(llama, *arguments, **settings)
