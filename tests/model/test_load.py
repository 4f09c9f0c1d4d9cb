"""Loading and wrapping: the same model from every place, and one sentence for what is none."""

from pathlib import Path

import pytest
import tiny_gguf
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    T5Config,
    T5ForConditionalGeneration,
)

from steersman.errors import ModelError
from steersman.model.encode import prompt_tokens
from steersman.model.layout import Layout, verify
from steersman.model.load import load, wrap
from tiny import FAMILIES, PROMPTS, VOCABULARY, plan, tiny_model, tiny_network, tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEWER = "fedcba9876543210fedcba9876543210fedcba98"
DAMAGED = "model.layers.2.mlp.down_proj.weight"
SMALL = {"vocab_size": 110, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}


def save(folder: Path, network, words=None) -> Path:
    network.save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return save(tmp_path / "llama", tiny_network("llama"), tokenizer(chat=True))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A Hugging Face cache with one model, whose main branch is at `COMMIT`; nothing beyond it can be reached."""
    cache = tmp_path / "hub"
    repository = cache / "models--owner--tiny"
    for commit, seed in ((COMMIT, 0), (NEWER, 1)):
        save(repository / "snapshots" / commit, tiny_network("llama", seed), tokenizer(chat=True))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "next").write_text(NEWER)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@torch.no_grad()
def logits(network):
    tokens = torch.arange(3, 40)[None]
    return network(input_ids=tokens).logits


def assert_rounded(network, exact):
    """The weights are `exact`'s, rounded to bfloat16, and so, about, are the logits."""
    weights = exact.state_dict()
    assert all(torch.equal(value, weights[name].bfloat16()) for name, value in network.state_dict().items())
    assert float((logits(network) - logits(exact)).norm() / logits(exact).norm()) < 0.05


# The same model from every place


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_loads_as_it_was_in_memory(tmp_path, family):
    before = tiny_network(family)
    model = load(str(save(tmp_path / family, before, tokenizer())), dtype="float32", device="cpu")
    assert torch.equal(logits(model.hf), logits(before))
    assert (model.name, model.dtype, model.device) == (family, torch.float32, torch.device("cpu"))
    assert (model.depth, model.width, model.template) == (4, 32, "")
    assert not model.hf.training
    # For Qwen2 transformers takes its own pre-tokenizer, whatever the folder's tokenizer.json says.
    if family != "qwen2":
        steered = tiny_model(family).generate(list(PROMPTS), plan(1), max_new_tokens=6)
        assert model.generate(list(PROMPTS), plan(1), max_new_tokens=6) == steered


def test_bfloat16_is_the_same_model_rounded(folder):
    model = load(str(folder), dtype="bfloat16", device="cpu")
    assert model.dtype == model.hf.dtype == torch.bfloat16
    assert_rounded(model.hf, tiny_network("llama"))


def test_a_loaded_model_knows_what_it_is(folder):
    model = load(str(folder), dtype="float32", device="cpu")
    assert len(model.revision) == 64
    assert model.template == tiny_model("llama", chat=True).template
    assert model.stop_tokens == {VOCABULARY["<eos>"]}
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7]}', encoding="utf-8")
    changed = load(str(folder), dtype="float32", device="cpu")
    assert changed.stop_tokens == {2, 7}
    assert changed.revision != model.revision


def test_loading_is_silent_and_tells_only_what_it_is_asked_to(folder, hub, capfd):
    said: list[str] = []
    for name in (str(folder), "owner/tiny"):
        load(name, dtype="float32", device="cpu", notify=said.append)
    with pytest.raises(ModelError):
        load("owner/other", notify=said.append)
    assert said == ["fetching owner/other from the Hugging Face hub"]
    assert capfd.readouterr() == ("", "")


# From the hub


@pytest.mark.parametrize(
    ("name", "commit", "seed"),
    [
        ("owner/tiny", COMMIT, 0),
        ("owner/tiny@main", COMMIT, 0),
        ("owner/tiny@next", NEWER, 1),
        (f"owner/tiny@{NEWER}", NEWER, 1),
    ],
)
def test_a_cached_hub_model_is_the_commit_that_was_asked_for(hub, name, commit, seed):
    model = load(name, dtype="float32", device="cpu")
    assert (model.name, model.revision) == ("owner/tiny", commit)
    assert torch.equal(logits(model.hf), logits(tiny_network("llama", seed)))


def test_the_tokenizer_is_of_the_same_commit_as_the_weights(hub, monkeypatch):
    asked = []
    original = AutoTokenizer.from_pretrained

    def read(*names, **options):
        asked.append(options["revision"])
        return original(*names, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", read)
    load("owner/tiny@next", dtype="float32", device="cpu")
    assert asked == [NEWER]


def test_the_revision_is_what_was_loaded_where_the_branch_has_moved_since_it_was_cached(hub, monkeypatch):
    """As online: reading the config brings the cache up to date."""
    original = AutoConfig.from_pretrained

    def update(*names, **options):
        (hub / "models--owner--tiny" / "refs" / "main").write_text(NEWER)
        return original(*names, **options)

    monkeypatch.setattr(AutoConfig, "from_pretrained", update)
    model = load("owner/tiny", dtype="float32", device="cpu")
    assert model.revision == NEWER
    assert torch.equal(logits(model.hf), logits(tiny_network("llama", 1)))


@pytest.mark.parametrize("name", ["owner/other", "owner/tiny@v9"])
def test_a_hub_model_that_is_not_here_while_offline_is_one_sentence(hub, name):
    with pytest.raises(ModelError, match=r"^the model 'owner/\w+' could not be loaded \(.*\); check the name") as e:
        load(name)
    assert "\n" not in str(e.value)


# From a GGUF file


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gguf_file_loads_as_the_model_it_was_written_from(tmp_path, capfd, dtype):
    before = tiny_gguf.network()
    file = tiny_gguf.write(tmp_path / "Tiny.gguf", before)
    model = load(str(file), dtype=dtype, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (model.name, model.depth, model.width) == ("Tiny.gguf", 3, 32)
    assert model.dtype == getattr(torch, dtype)
    assert model.stop_tokens == {0}
    if dtype == "float32":
        torch.testing.assert_close(logits(model.hf), logits(before), rtol=1e-5, atol=1e-5)
    else:
        assert_rounded(model.hf, before)
    assert prompt_tokens(model, "x  12") == model.tokenizer("<|start|>x  12<|end|><|start|>")["input_ids"]


def test_a_gguf_files_digits_stand_apart_where_it_says_so(tmp_path):
    file = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.network())
    words = load(str(file), dtype="float32", device="cpu").tokenizer
    assert words.tokenize("x  12 is") == ["x", "ĠĠ", "1", "2", "Ġis"]
    assert words.decode(words("x  12 is <|end|>")["input_ids"]) == "x  12 is <|end|>"
    assert words.tokenize("<|start|>x") == ["<|start|>", "x"]


# What is no model


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def overwrite(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(64) + weights.read_bytes()[64:])


def lose(folder: Path) -> None:
    weights = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if k != DAMAGED}, weights, metadata={"format": "pt"})


def reshape(folder: Path) -> None:
    weights = folder / "model.safetensors"
    save_file(load_file(weights) | {DAMAGED: torch.zeros(3, 5)}, weights, metadata={"format": "pt"})


def pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def forget_words(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


BREAKAGES = {
    "weights cut short": (cut, r"could not be loaded \(.*metadata.*\); save the whole model"),
    "weights overwritten": (overwrite, r"could not be loaded \(.*header.*\); save the whole model"),
    "weights incomplete": (lose, rf"no whole LlamaForCausalLM: 1 of its weights are missing .*, {DAMAGED} among them"),
    "weights of another shape": (reshape, rf"1 of its weights are missing or of another shape, {DAMAGED} among"),
    "pickled weights": (pickle, r"could not be loaded \(.*model\.safetensors.*\); save the whole model"),
    "no tokenizer": (forget_words, r"has no tokenizer that can be read \(.*\); save the whole model and its token"),
    "a broken config": (lambda folder: (folder / "config.json").write_text("{"), "could not be loaded .*valid JSON"),
    "an empty config": (lambda folder: (folder / "config.json").write_text("{}"), "could not be loaded .*model_type"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_damaged_folder_is_one_sentence(folder, capfd, breakage):
    harm, message = BREAKAGES[breakage]
    harm(folder)
    with pytest.raises(ModelError, match=f"the model 'llama' .*{message}") as raised:
        load(str(folder), dtype="float32", device="cpu")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "qwen2"])
def test_the_empty_tokenizer_that_transformers_makes_up_is_refused(tmp_path, family):
    with pytest.raises(ModelError, match=f"expected the tokenizer of {family}, got .* without a vocabulary; keep its"):
        load(str(save(tmp_path / family, tiny_network(family))), dtype="float32", device="cpu")


@pytest.mark.parametrize("content", [b"", b"hello", b"GGUF", "half of one"])
def test_a_gguf_file_that_is_none_is_one_sentence(tmp_path, content):
    file = tmp_path / "tiny.gguf"
    if isinstance(content, str):
        content = tiny_gguf.write(file, tiny_gguf.network()).read_bytes()[:30000]
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"^the model 'tiny\.gguf' could not be loaded \(.*\); .*fetch it again$") as e:
        load(str(file))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: BertForMaskedLM(BertConfig(**SMALL)), "got BertLMHeadModel, whose tokens see later ones"),
        (lambda: BertModel(BertConfig(**SMALL)), "is no whole BertLMHeadModel: .* cls.predictions.bias among them"),
        (
            lambda: DistilBertModel(DistilBertConfig(vocab_size=110, dim=32, n_layers=4, n_heads=4, hidden_dim=64)),
            r"is a 'distilbert', of which transformers [\d.]+ knows no causal language model; name a decoder",
        ),
    ],
    ids=["masked", "headless", "no causal class"],
)
def test_an_encoder_is_refused(tmp_path, network, message):
    folder = save(tmp_path / "encoder", network(), tokenizer())
    with pytest.raises(ModelError, match=message):
        load(str(folder), dtype="float32", device="cpu")


def test_a_folder_of_pickles_of_the_hub_is_not_run(hub):
    pickle(hub / "models--owner--tiny" / "snapshots" / COMMIT)
    with pytest.raises(ModelError, match=r"'owner/tiny' could not be loaded"):
        load("owner/tiny")


# Models in memory


def twins():
    network = tiny_network("llama")
    network.twins = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
    return network


def test_of_two_lists_only_the_one_that_runs_on_text_is_the_blocks():
    network = twins()
    assert wrap(network, tokenizer()).layout.blocks is network.model.layers


def test_an_ambiguous_layout_asks_for_the_path_and_takes_it():
    network = twins()
    for block, twin in zip(network.model.layers, network.twins, strict=True):
        block.register_forward_hook(lambda module, args, output, twin=twin: twin(output))
    with pytest.raises(
        ModelError, match=r"one ModuleList of 4 blocks in Llama.*, got 2 among .*; give its path with b"
    ):
        wrap(network, tokenizer())
    model = wrap(network, tokenizer(), blocks="model.layers")
    assert model.layout.blocks is network.model.layers
    assert model.layout.base is network.model


def test_a_list_inside_the_blocks_does_not_make_them_ambiguous():
    network = tiny_network("llama")
    for block in network.model.layers:
        block.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
    assert wrap(network, tokenizer()).layout.blocks is network.model.layers


@pytest.mark.parametrize("path", ["model.nothing", "model", "lm_head", ""])
def test_a_path_to_no_list_names_those_there_are(path):
    with pytest.raises(ModelError, match=rf"path of a ModuleList \(model\.layers, twins\), got '{path}'"):
        wrap(twins(), tokenizer(), blocks=path)


def test_a_list_that_is_off_the_path_to_the_logits_is_refused():
    with pytest.raises(ModelError, match=r"the middle block did not move the logits.*give their path with blocks="):
        wrap(twins(), tokenizer(), blocks="twins")


def test_a_list_on_the_path_whose_outputs_are_no_hidden_states_is_refused():
    network = tiny_network("llama")
    for block in network.model.layers:
        block.mlp.parts = nn.ModuleList([block.mlp.gate_proj])
        del block.mlp.gate_proj
        block.mlp.forward = lambda hidden, mlp=block.mlp: mlp.down_proj(mlp.parts[0](hidden) * mlp.up_proj(hidden))
    assert wrap(network, tokenizer()).depth == 4
    with pytest.raises(ModelError, match=r"return \[batch, seq, 32\], here \[2, 4, 32\], got \[2, 4, 64\]; give"):
        wrap(network, tokenizer(), blocks="model.layers.1.mlp.parts")


def test_a_model_without_blocks_is_refused():
    network = tiny_network("llama")
    network.model.layers = nn.Sequential(*network.model.layers)
    with pytest.raises(ModelError, match=r"got 0 among none; give its path with blocks="):
        wrap(network, tokenizer())


def test_an_encoder_and_what_has_no_logits_are_refused():
    with pytest.raises(ModelError, match="got BertLMHeadModel, whose tokens see later ones: an encoder"):
        wrap(BertLMHeadModel(BertConfig(**SMALL)).eval(), tokenizer())
    with pytest.raises(ModelError, match="got BertModel, which gives no logits; load it with AutoModelForCausalLM"):
        wrap(BertModel(BertConfig(**SMALL)).eval(), tokenizer())
    pair = T5ForConditionalGeneration(T5Config(vocab_size=110, d_model=32, d_kv=8, d_ff=64, num_layers=4, num_heads=4))
    with pytest.raises(ModelError, match="got the encoder and decoder of T5ForConditionalGeneration; name a decoder"):
        wrap(pair, tokenizer())


def test_a_bert_that_looks_only_back_is_a_decoder():
    model = wrap(BertLMHeadModel(BertConfig(**SMALL, is_decoder=True)).eval(), tokenizer())
    assert model.depth == 4


@pytest.mark.parametrize("words", [None, "empty"])
def test_a_model_without_a_tokenizer_is_refused(words):
    if words:
        words = tokenizer()
        words.backend_tokenizer.pre_tokenizer = None  # every text of several letters is one unknown word
    with pytest.raises(ModelError, match=r"expected the tokenizer of tiny, got .* without a vocabulary"):
        wrap(tiny_network("llama"), words, name="tiny")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_verification_leaves_the_model_as_it_was(family, dtype):
    network = tiny_network(family).to(dtype)
    before, state = logits(network), {name: value.clone() for name, value in network.state_dict().items()}
    model = wrap(network, tokenizer())
    verify(network, model.layout)
    assert torch.equal(logits(network), before)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_verification_that_fails_leaves_no_hook():
    network = twins()
    with pytest.raises(ModelError):
        verify(network, Layout(network.model, nn.ModuleList([network.lm_head]), 32))
    assert not network.lm_head._forward_hooks
