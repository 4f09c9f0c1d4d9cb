"""What happens around a context: other threads, other callers' hooks, caches that are cut, kept or fed in pieces."""

import threading

import pytest
import torch
import transformers

from families import FAMILIES as NETWORKS
from steersman.edits import Ablate
from steersman.errors import MismatchError
from steersman.gates import Gate
from steersman.intervention import steer
from steersman.model.encode import forward_arguments, pad, prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.hooks import editing
from steersman.model.load import wrap
from steersman.plan import Plan
from steersman.prompts import Example, Pair
from steersman.recording import record
from steersman.where import Site, Span
from tiny import PROMPTS, direction, plan, tiny_model, tokenizer

ROW = list(range(6, 30))
ANYWHERE = ["all", "first(2)", "positions(0,3)"]
BY_PROMPT = ["prompt", "last", "generated"]


@torch.no_grad()
def hidden_states(model, **arguments):
    return model.hf(input_ids=torch.tensor([ROW]), output_hidden_states=True, **arguments).hidden_states


@pytest.mark.skipif(transformers.__version__ < "5", reason="version 4 reads the states within a block, before any hook")
@pytest.mark.parametrize("first", [True, False], ids=["asked for before", "asked for inside alone"])
def test_the_hidden_states_that_transformers_returns_are_steered(first):
    model = wrap(NETWORKS["Llama"](), tokenizer())
    if first:  # transformers leaves its own hooks on the blocks from then on
        hidden_states(model)
    vector = torch.randn(model.width, generator=torch.Generator().manual_seed(0))
    with steer(model, made_plan(model, vector)):
        steered = hidden_states(model)
    plain = hidden_states(model)
    torch.testing.assert_close(steered[2], plain[2] + vector)
    assert torch.equal(steered[1], plain[1])


def made_plan(model, vector):
    found = direction(1, [1], depth=model.depth, width=model.width)
    return Plan(type(found)({Site(1): vector}, found.norms, found.origin, "made up"), unit="raw")


def test_a_users_own_hook_sees_what_is_written(bare):
    seen = []
    handle = bare.layout.blocks[1].register_forward_hook(
        lambda _m, _a, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        with torch.no_grad():
            bare.hf(input_ids=torch.tensor([ROW]))
            with steer(bare, plan(1, [1])), steer(bare, Plan(direction(2, [1]), Ablate())):
                bare.hf(input_ids=torch.tensor([ROW]))
            bare.hf(input_ids=torch.tensor([ROW]))
    finally:
        handle.remove()
    r = direction(2, [1]).units(Site(1))
    added = seen[0] + direction(1, [1]).vectors[Site(1)]
    # The outer context acts first.
    torch.testing.assert_close(seen[1], added - (added @ r)[..., None] * r, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen[2], seen[0])


def test_threads_do_not_steer_each_other(llama):
    wanted = {n: llama.score(PROMPTS[0], [" yes"], each)[0] for n, each in enumerate((Plan(), plan(1), plan(2)))}
    wrong, broken = [], []

    def work(number, each):
        try:
            for _ in range(40):
                (score,) = llama.score(PROMPTS[0], [" yes"], each)
                if score != wanted[number]:
                    wrong.append(number)
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate((Plan(), plan(1), plan(2)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, broken) == ([], [])
    assert llama.under_way == []


def test_a_context_steers_its_own_thread_alone(llama):
    results = {}

    def other():
        with torch.no_grad():
            results["other"] = llama.hf(input_ids=torch.tensor([ROW])).logits

    with torch.no_grad(), steer(llama, plan(1)):
        results["own"] = llama.hf(input_ids=torch.tensor([ROW])).logits
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    with torch.no_grad():
        assert torch.equal(results["other"], llama.hf(input_ids=torch.tensor([ROW])).logits)
    assert not torch.allclose(results["own"], results["other"], atol=1e-2)


@torch.no_grad()
def in_pieces(model, each, lengths=None):
    """One prompt of 24 tokens read in two pieces behind a cache; the logits of the second."""
    with steer(model, each, prompt_lengths=lengths) as active:
        cache = model.hf(input_ids=torch.tensor([ROW[:16]]), use_cache=True).past_key_values
        logits = model.hf(input_ids=torch.tensor([ROW[16:]]), past_key_values=cache, use_cache=True).logits
    return logits, active.applications


@pytest.mark.parametrize("span", BY_PROMPT)
def test_a_prompt_in_pieces_needs_to_be_told(llama, span):
    each = plan(1, span=span)
    message = f"for the span {span}, but a pass of 8 tokens followed 16 cached ones; give prompt_lengths"
    with pytest.raises(MismatchError, match=message):
        in_pieces(llama, each)
    logits, applied = in_pieces(llama, each, [20])
    assert applied == {"resid_post.1": {"prompt": 20, "last": 1, "generated": 4}[span]}
    with torch.no_grad(), editing(llama, [each], torch.tensor([20])):
        torch.testing.assert_close(logits, llama.hf(input_ids=torch.tensor([ROW])).logits[:, 16:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("span", ANYWHERE)
def test_spans_that_do_not_ask_where_the_prompt_ends_need_nothing(llama, span):
    logits, applied = in_pieces(llama, plan(1, span=span))
    assert applied == {"resid_post.1": {"all": 24, "first(2)": 2, "positions(0,3)": 2}[span]}
    with torch.no_grad(), steer(llama, plan(1, span=span)):
        torch.testing.assert_close(logits, llama.hf(input_ids=torch.tensor([ROW])).logits[:, 16:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("span", [*ANYWHERE, *BY_PROMPT])
def test_decoding_with_drafts_is_plain_decoding_or_an_error(llama, span):
    each = plan(1, span=span, coefficient=2.0)
    ids = torch.tensor([ROW[:8] * 2])
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 12}
    with steer(llama, each):
        plain = llama.hf.generate(**arguments)
    with steer(llama, each, prompt_lengths=[16]):
        told = llama.hf.generate(**arguments, prompt_lookup_num_tokens=3)
    assert torch.equal(told, plain)
    try:
        with steer(llama, each):
            assert torch.equal(llama.hf.generate(**arguments, prompt_lookup_num_tokens=3), plain)
    except MismatchError as error:
        assert span in BY_PROMPT
        assert "give prompt_lengths" in str(error)  # noqa: PT017 - both ways out are right


def test_a_second_turn_behind_a_kept_cache_needs_to_be_told(llama):
    def turn(tokens, cache=None):
        return llama.hf(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True).past_key_values

    message = "for the span prompt, but a pass of 5 tokens followed 16 cached ones"
    with torch.no_grad(), pytest.raises(MismatchError, match=message), steer(llama, plan(1, span="prompt")):
        turn(ROW[:5], turn(ROW[:16]))


def test_rows_kept_of_one_text_are_forgotten_at_the_next(llama):
    ids = torch.tensor([ROW, ROW])
    plans = [plan(1), plan(2)]
    with torch.no_grad(), steer(llama, plans) as active:
        first = llama.hf(input_ids=ids).logits
        active.select(torch.tensor([1, 0]))
        second = llama.hf(input_ids=ids).logits
    assert torch.equal(first, second)


def test_plans_by_row_do_not_stand_around_verbs_that_form_batches(llama):
    plans = [plan(1, span="last"), Plan()]
    pairs = [Pair("a", Example("A long long prompt"), Example("Hi"))]
    message = "one plan for all rows around {}, which forms batches of its own"
    with pytest.raises(MismatchError, match=message.format("recording")), steer(llama, plans):
        record(llama, pairs, span="last")
    for verb, call in (
        ("generate", lambda: llama.generate(PROMPTS[:4], batch_size=2)),
        ("score", lambda: llama.score(PROMPTS[:4], ["a"] * 4, batch_size=2)),
        ("score_options", lambda: llama.score_options(PROMPTS[:4], [["a"]] * 4, batch_size=2)),
    ):
        with pytest.raises(MismatchError, match=message.format(verb)), steer(llama, plans):
            call()
    with steer(llama, plans):
        assert llama.generate(PROMPTS[:2], batch_size=2, max_new_tokens=4) == llama.generate(
            PROMPTS[:2], [Plan(), Plan()], max_new_tokens=4
        )


def test_a_state_space_cache_that_tells_no_length_is_refused():
    model = wrap(NETWORKS["Mamba"](), tokenizer())
    each = Plan(direction(1, [1], depth=model.depth, width=model.width))
    with pytest.raises(MismatchError, match="give use_cache=False"), steer(model, each):
        model.hf.generate(input_ids=torch.tensor([ROW]), max_new_tokens=3, do_sample=False)


def test_what_pads_a_batch_may_be_infinite(llama):
    """A row's average does not see what stands at its padding."""

    def spoil(_module, _args, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, :3] = float("inf")
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    pairs = [Pair("a", Example("Hi"), Example("A much longer prompt than that"))]
    plain = record(llama, pairs, span="last", layers=[3])
    handle = llama.layout.blocks[3].register_forward_hook(spoil)
    try:
        spoilt = record(llama, pairs, span="last", layers=[3])
    finally:
        handle.remove()
    torch.testing.assert_close(spoilt.positive[Site(3)], plain.positive[Site(3)])


def test_two_gates_at_one_site_are_told_apart(llama):
    always, never = (Gate(Site(0), torch.ones(32), threshold) for threshold in (-1e6, 1e6))
    each = Plan(direction(1), gate=always) + Plan(direction(2), gate=never)
    with torch.no_grad(), steer(llama, each) as active:
        llama.hf(input_ids=torch.tensor([ROW]))
    assert active.fired == {
        f"resid_post.0#{always.digest[:8]}": [True],
        f"resid_post.0#{never.digest[:8]}": [False],
    }


def test_a_generation_tells_which_gates_fired(llama):
    gates = [Gate(Site(0), torch.ones(32), threshold) for threshold in (-1e6, 1e6)]
    plans = [Plan(direction(1), gate=gate) for gate in gates] + [Plan()]
    told = [generation.gates for generation in llama.complete(PROMPTS[:3], plans, Sampling(2))]
    assert told == [{"resid_post.0": True}, {"resid_post.0": False}, {}]


def test_a_model_in_float64_takes_every_edit():
    model = wrap(NETWORKS["Llama"]().double(), tokenizer())
    found = direction(1, [1], depth=model.depth, width=model.width)
    with steer(model, Plan(found, Ablate()) + Plan(found, coefficient=0.1)) as active, torch.no_grad():
        model.hf(input_ids=torch.tensor([ROW]))
    assert active.applications == {"resid_post.1": 48}


def test_arguments_given_by_place_are_read(llama):
    rows = [prompt_tokens(llama, prompt) for prompt in PROMPTS[:2]]
    batch = pad(llama, rows, [len(row) for row in rows])
    seen = []
    with torch.no_grad(), steer(llama, plan(1, span="first(2)")) as active:
        llama.layout.base(batch.tokens, batch.mask)
        seen.append(active.progress.positions)
        llama.layout.base(**forward_arguments(llama, batch))
        seen.append(active.progress.positions)
    assert torch.equal(*seen)
    assert active.applications == {"resid_post.1": 8}


def test_an_embedded_text_has_no_beginning_where_the_tokenizer_has_none():
    words = tokenizer()
    words.bos_token = None
    model = wrap(tiny_model("llama").hf, words)
    embedded = model.hf.get_input_embeddings()(torch.tensor([ROW])).detach()
    with torch.no_grad(), steer(model, plan(1, span=str(Span("all", bos=False)))) as active:
        model.hf(inputs_embeds=embedded)
    assert active.applications == {"resid_post.1": len(ROW)}


def test_what_is_found_out_inside_a_context_is_of_the_plain_model():
    model = wrap(NETWORKS["Gemma 2"](), tokenizer())
    strong = Plan(direction(1, [0, 1], depth=model.depth, width=model.width), coefficient=30.0)
    with steer(model, strong) as active:
        found, reads = model.parts, model.reads_on
        assert active.applications == {"resid_post.0": 0, "resid_post.1": 0}
        model.hf(input_ids=torch.tensor([ROW]))
    other = wrap(NETWORKS["Gemma 2"](), tokenizer())
    assert reads == other.reads_on
    assert [type(part.mixer) for part in found] == [type(part.mixer) for part in other.parts]
    assert [part.factor for part in found] == [part.factor for part in other.parts]
