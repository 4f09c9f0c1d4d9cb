"""No silent no-op: what was asked for and could not be done is an error that names the place and the reason."""

import dataclasses

import pytest
import torch

from steersman.errors import InputError, InterventionError, MismatchError, ModelError
from steersman.intervention import steer
from steersman.model.encode import prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.layout import discover
from steersman.model.load import wrap
from steersman.plan import Plan
from tiny import PROMPTS, direction, plan, tiny_network, tokenizer


def forward(model, prompt=PROMPTS[0], rows=1):
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([prompt_tokens(model, prompt)] * rows))


def test_no_forward_pass_is_an_error(bare):
    with (
        pytest.raises(InterventionError, match=r"asked for at resid_post\.1, resid_post\.3 .*no forward pass ran"),
        steer(bare, plan(1, [3, 1])),
    ):
        pass


def test_a_span_that_selects_nothing_is_an_error(bare):
    with (
        pytest.raises(InterventionError, match=r"resid_post\.2 and never applied: its span selected no token"),
        steer(bare, plan(1, [2], span="generated") + plan(1, [1])),
    ):
        forward(bare)


def test_a_span_that_selects_nothing_in_one_row_is_an_error_that_names_it(bare):
    plans = [plan(1), plan(1, span="generated"), Plan()]
    with (
        pytest.raises(InterventionError, match=r"resid_post\.1 \(rows 1\).*its span selected no token"),
        steer(bare, plans),
    ):
        forward(bare, rows=3)


def test_generating_one_token_leaves_nothing_to_steer_in_the_generated_span(bare):
    with pytest.raises(InterventionError, match="its span selected no token"):
        bare.generate(PROMPTS[0], plan(1, span="generated"), max_new_tokens=1)


def test_a_row_that_ends_at_once_is_excused_whatever_its_neighbours(bare):
    (first,) = bare.complete(PROMPTS[:1], [Plan()], Sampling(1))
    ending = dataclasses.replace(bare, stop_tokens=frozenset(first.tokens))
    one = plan(1, span="generated")
    (alone,) = ending.complete(PROMPTS[:1], [one], Sampling(6))
    assert (alone.tokens, alone.finish) == ((), "stop")
    assert ending.complete(PROMPTS[:2], [one, one], Sampling(6))[0] == alone


@pytest.mark.parametrize(("width", "depth"), [(16, 4), (32, 5), (64, 2)])
def test_a_direction_of_another_model_is_refused(bare, width, depth):
    foreign = Plan(direction(1, [1], width=width, depth=depth))
    message = rf"width 32 for 4 layers \(tiny-.*\), got width {width} for {depth} layers; fit one on this model"
    for call in (
        lambda: bare.generate(PROMPTS[0], foreign),
        lambda: bare.score(PROMPTS[0], [" yes"], foreign),
        lambda: bare.score_options(PROMPTS[:1], [[" yes"]], foreign),
        lambda: steer(bare, foreign).__enter__(),
    ):
        with pytest.raises(MismatchError, match=message):
            call()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_batch_with_another_number_of_rows_is_refused(bare, rows):
    with (
        pytest.raises(MismatchError, match=f"a batch of 3 rows, one for each plan, got {rows}; give one plan for all"),
        steer(bare, [plan(1), plan(2), plan(3)]),
    ):
        forward(bare, rows=rows)


def drop_a_row(model, plans, *, tell):
    """Read three rows, then go on with the first and the last of them."""
    kept = torch.tensor([0, 2])
    with torch.no_grad(), steer(model, plans) as active:
        cache = forward(model, rows=3).past_key_values
        cache.batch_select_indices(kept)
        if tell:
            active.select(kept)
        model.hf(input_ids=torch.tensor([[9], [9]]), past_key_values=cache)
    return active


def test_rows_dropped_from_a_cached_batch_must_be_told(bare):
    with pytest.raises(MismatchError, match=r"a batch of 3 rows, .* got 2; .*call .select\(index\)"):
        drop_a_row(bare, plan(1, span="last"), tell=False)
    active = drop_a_row(bare, [plan(1), plan(2), plan(3)], tell=True)
    length = len(prompt_tokens(bare, PROMPTS[0]))
    assert sum(operation.applied for operation in active.operations).tolist() == [length + 1, length, length + 1]


def test_a_block_called_by_itself_is_an_error(llama):
    states = torch.zeros(1, 2, 32)
    rotary = llama.hf.model.rotary_emb(states, torch.arange(2)[None])
    with pytest.raises(InterventionError, match=r"decoder was not entered before resid_post\.1"), steer(llama, plan(1)):
        llama.layout.blocks[1](states, position_embeddings=rotary)


def test_a_mask_that_hides_positions_is_refused(llama):
    with pytest.raises(MismatchError, match="2-D attention mask"), steer(llama, plan(1)):
        llama.hf(input_ids=torch.zeros(1, 2, dtype=torch.long), attention_mask=torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: steer(m, []).__enter__(), "at least one plan"),
        (lambda m: m.generate([]), "at least one prompt"),
        (lambda m: m.generate("a", []), "at least one plan"),
        (lambda m: m.generate(["a", "b"], [plan(1)] * 3), "3 plans and 2 prompts"),
        (lambda m: m.generate("a", max_new_tokens=0), "max_new_tokens of at least 1, got 0"),
        (lambda m: m.generate("a", temperature=-1.0), "temperature of 0 or more, got -1"),
        (lambda m: m.generate("a", temperature=float("nan")), "temperature of 0 or more, got nan"),
        (lambda m: m.generate("a", top_p=0.0), r"top_p in \(0, 1\], got 0"),
        (lambda m: m.generate("a", repetition_penalty=0.0), "repetition_penalty above 0"),
        (lambda m: m.generate("a", batch_size=0), "batch size of at least 1"),
        (lambda m: m.score(["a", "b"], [" c"]), "one completion per prompt, got 1 for 2"),
        (lambda m: m.score("a", [""]), "completion of at least one token"),
        (lambda m: m.score_options(["a", "b"], [[" c"]]), "options for every prompt, got 1 for 2"),
        (lambda m: m.score(["a", "b"], [" c", " d"], system=["be brief"]), "one for each of 2, got 1"),
        (lambda m: m.generate("a", batch_size=0), "batch size of at least 1, got 0"),
    ],
)
def test_bad_calls_are_refused_in_one_sentence(llama, call, message):
    with pytest.raises(InputError, match=message):
        call(llama)


def test_the_layout_is_found_by_structure(bare):
    assert (bare.depth, bare.width) == (4, 32)
    assert len(bare.layout.blocks) == 4


def test_an_ambiguous_layout_names_the_candidates(llama):
    network = tiny_network("llama")
    network.twins = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(4))
    for block, twin in zip(network.model.layers, network.twins, strict=True):  # both run on text, block by block
        block.register_forward_hook(lambda module, args, output, twin=twin: (twin(output), None)[1])
    with pytest.raises(
        ModelError, match=r"exactly one ModuleList of 4 blocks .* got 2 among .*model\.layers \(4\).*twins \(4\)"
    ):
        discover(network)
    assert wrap(network, tokenizer(), blocks="model.layers").depth == 4
    with pytest.raises(ModelError, match=r"path of a ModuleList \(.*model\.layers.*\), got 'model\.blocks'"):
        discover(network, "model.blocks")
    with pytest.raises(ModelError, match="did not move the logits"):
        wrap(network, tokenizer(), blocks="twins")
