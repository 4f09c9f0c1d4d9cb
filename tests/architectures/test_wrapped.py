"""Models behind something else: an adapter, a compiler, eight-bit weights, several devices."""

import copy
from pathlib import Path

import pytest
import torch
from measuring import ROUNDING, alone, furthest, heads, mixed_plans, plan_at, sites, subject, whole
from transformers import AutoModelForCausalLM

from families import FAMILIES
from steersman.errors import ModelError
from steersman.intervention import steer
from steersman.model.load import load, wrap
from steersman.plan import Plan
from steersman.where import POINTS
from tiny import PROMPTS, tokenizer

NOTHING = [Plan()] * len(PROMPTS)


def save(family: str, folder: Path) -> str:
    FAMILIES[family]().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


# Loaded


SAVED = [name for name in ("Gemma 3 with vision", "Qwen2-VL", "LLaVA", "SmolVLM", "Jamba", "OPT") if name in FAMILIES]


@pytest.mark.parametrize("family", SAVED)
def test_a_saved_model_that_sees_loads_and_its_text_is_steered(tmp_path, family):
    model = load(save(family, tmp_path), dtype="float32", device="cpu")
    assert type(model.hf) is type(subject(family).hf)
    assert torch.equal(whole(model, mixed_plans(family)), whole(subject(family), mixed_plans(family)))


ON_DISK = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu"}
ON_DISK |= {"lm_head": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}, ON_DISK], ids=["auto", "one place", "partly on disk"])
def test_a_model_spread_over_devices_is_steered_as_one_that_is_not(tmp_path, device_map):
    folder = save("Llama", tmp_path / "model")
    model = load(folder, dtype="float32", device_map=device_map, offload_folder=tmp_path / "weights")
    aside = [parameter for parameter in model.hf.parameters() if parameter.device.type == "meta"]
    assert bool(aside) == (device_map is ON_DISK)
    assert model.device == torch.device("cpu")
    plans = mixed_plans("Llama")
    before = whole(model, NOTHING)
    assert torch.equal(whole(model, plans), whole(subject("Llama"), plans))
    assert torch.equal(whole(model, NOTHING), before)
    texts = subject("Llama").generate(list(PROMPTS), list(plans), max_new_tokens=4)
    assert model.generate(list(PROMPTS), list(plans), max_new_tokens=4) == texts


def test_a_map_to_a_place_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"could not be loaded \(.*nowhere"):
        load(save("Llama", tmp_path), dtype="float32", device_map={"": "nowhere"})


# Adapted


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")  # peft says so of every GPT-2
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("Llama", ["q_proj", "o_proj", "down_proj"]),
        ("GPT-2", ["c_attn", "c_proj"]),
        ("Gemma 2", ["o_proj", "up_proj"]),
        ("BLOOM", ["dense", "dense_4h_to_h"]),
    ],
)
def test_a_model_with_an_adapter_is_steered_as_the_merged_one(family, layers):
    peft = pytest.importorskip("peft", reason="pip install steersman[dev]")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        options = peft.LoraConfig(r=4, target_modules=layers, init_lora_weights=False, task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(FAMILIES[family](), options).eval()
    model = wrap(adapted, tokenizer())
    merged = wrap(copy.deepcopy(adapted).merge_and_unload(), tokenizer())
    plans, plain = mixed_plans(family), subject(family)
    steered = whole(model, plans)
    assert furthest(steered, whole(merged, plans)) <= ROUNDING
    assert furthest(steered, alone(model, plans)) <= ROUNDING  # positions reach the model through the adapter
    assert furthest(steered, whole(model, NOTHING)) > 1
    assert furthest(steered, whole(plain, plans)) > 1
    # The same places as without the adapter, and the adapter's own share of the projection is steered with it.
    assert [part.heads for part in model.parts] == [part.heads for part in plain.parts]
    texts = merged.generate(list(PROMPTS), list(plans), max_new_tokens=4)
    assert model.generate(list(PROMPTS), list(plans), max_new_tokens=4) == texts
    with adapted.disable_adapter():
        assert furthest(whole(model, plans), whole(plain, plans)) <= ROUNDING


# Compiled


class Counting:
    """A backend for `torch.compile` that runs what it is given as it is, and counts the runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, graph, _inputs):
        def run(*args):
            self.runs += 1
            return graph.forward(*args)

        return run


def around(network, backend):
    return torch.compile(network, backend=backend)


def in_place(network, backend):
    network.compile(backend=backend)
    return network


def its_blocks(network, backend):
    for block in network.model.layers:
        block.compile(backend=backend)
    return network


@pytest.mark.parametrize("compiled", [around, in_place, its_blocks])
def test_a_compiled_model_is_steered_and_runs_compiled_when_it_is_not(compiled):
    torch._dynamo.reset()
    backend, plain = Counting(), subject("Llama")
    tokens = torch.tensor([heads(plain)[2]])
    model = wrap(compiled(FAMILIES["Llama"](), backend), tokenizer())

    @torch.no_grad()
    def logits(of):
        return of.hf(input_ids=tokens).logits

    expected = logits(plain)
    assert furthest(logits(model), expected) <= ROUNDING
    assert backend.runs  # compiled before any hook was there
    for point in POINTS:
        site = sites(plain, point)[1]
        runs, plan = backend.runs, plan_at(plain, site)
        with steer(plain, plan):
            steered = logits(plain)
        with steer(model, plan) as active:
            assert furthest(logits(model), steered) <= ROUNDING
        assert active.applications == {str(site): tokens.shape[1]}
        assert backend.runs == runs  # what is steered runs as it is written
        assert furthest(logits(model), expected) <= ROUNDING
        assert backend.runs > runs
    plans = mixed_plans("Llama")
    texts = plain.generate(list(PROMPTS), list(plans), max_new_tokens=4)
    assert model.generate(list(PROMPTS), list(plans), max_new_tokens=4) == texts
    torch._dynamo.reset()


# Eight bits


@pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")  # every product tells that it casts its input
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_of_eight_bits_is_steered(tmp_path):
    bits = pytest.importorskip("bitsandbytes", reason="pip install steersman[dev]")
    from transformers import BitsAndBytesConfig

    network = AutoModelForCausalLM.from_pretrained(
        save("Llama", tmp_path),
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        device_map={"": "cpu"},
        dtype=torch.float32,
    )
    assert isinstance(network.model.layers[0].mlp.down_proj, bits.nn.Linear8bitLt)
    model, plain, plans = wrap(network, tokenizer()), subject("Llama"), mixed_plans("Llama")
    names = [{module: name for name, module in each.layout.blocks.named_modules()} for each in (model, plain)]
    for part, other in zip(model.parts, plain.parts, strict=True):
        for mine, theirs in zip(*((p.mixer, p.mlp, p.projection) for p in (part, other)), strict=True):
            assert names[0][mine] == names[1][theirs]
    # Eight bits round the logits, whose spread is about 1, by some tenths; steering moves them by several.
    rounded = furthest(whole(model, NOTHING), whole(plain, NOTHING))
    assert rounded < 0.5
    assert furthest(whole(model, plans), whole(plain, plans)) < 3 * rounded
    assert furthest(whole(model, plans), whole(model, NOTHING)) > 1
