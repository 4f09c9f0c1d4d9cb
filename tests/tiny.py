"""Tiny seeded models from configurations, float32, nothing downloaded; and directions and plans to steer them with."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.model.load import wrap
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.where import Site

FAMILIES = ("llama", "gpt2", "gemma2", "qwen2")
DEPTH, WIDTH, HEADS = 4, 32, 4
SPECIALS = ("<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>")
LETTERS = [chr(code) for code in range(32, 127)] + ["\n"]
VOCABULARY = {token: index for index, token in enumerate([*SPECIALS, *LETTERS])}
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# Of unlike lengths, so that every batch is padded; longer than Gemma's window of 6.
PROMPTS = ("How are you today?", "Hi", "Tell me a story about a fox and a goose.", "2+2=", "Why is the sky blue?")
COMPLETIONS = (" fine", " x", " Once upon a time", " 4!", " Light scatters.")


def tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single characters; `<bos>` begins a plain text."""
    core = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", VOCABULARY["<bos>"])]
    )
    core.add_special_tokens(list(SPECIALS))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
    )
    if chat:
        fast.chat_template = TEMPLATE
    return fast


def tiny_network(family: str, seed: int = 0, depth: int = DEPTH, width: int = WIDTH) -> Any:
    """Return a causal language model with random weights, large enough that tokens and positions matter."""
    ids = {name: VOCABULARY[f"<{name}>"] for name in ("pad", "bos", "eos")}
    common: dict[str, Any] = {f"{name}_token_id": value for name, value in ids.items()}
    common |= {"vocab_size": len(VOCABULARY), "initializer_range": 0.25}
    blocks: dict[str, Any] = common | {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": 256,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "llama":
            network = LlamaForCausalLM(LlamaConfig(**blocks))
        elif family == "qwen2":
            network = Qwen2ForCausalLM(Qwen2Config(**blocks))
        elif family == "gpt2":
            network = GPT2LMHeadModel(
                GPT2Config(**common, n_embd=width, n_layer=depth, n_head=HEADS, n_positions=256, n_inner=2 * width)
            )
        else:
            # Every other layer sees 6 tokens; sdpa would leave the soft caps out.
            config = Gemma2Config(
                **blocks,
                head_dim=width // HEADS,
                query_pre_attn_scalar=width // HEADS,
                sliding_window=6,
                attn_logit_softcapping=5.0,
                final_logit_softcapping=8.0,
                attn_implementation="eager",
            )
            network = Gemma2ForCausalLM(config)
    return network.float().eval()


@cache
def tiny_model(family: str, *, chat: bool = False) -> Model:
    """Return the family's tiny model, made once."""
    return wrap(tiny_network(family), tokenizer(chat=chat), name=f"tiny-{family}", revision="0" * 64)


def origin(depth: int = DEPTH, width: int = WIDTH, n: int = 8) -> Origin:
    """Return where a made-up direction comes from."""
    return Origin("tiny", "0" * 64, "", width, depth, "completion", "0" * 64, n)


def direction(seed: int = 0, layers: Sequence[int] = (1,), *, depth: int = DEPTH, width: int = WIDTH) -> Direction:
    """Return random vectors, of length about `sqrt(width)`, at some layers."""
    generator = torch.Generator().manual_seed(seed)
    vectors = {Site(layer): torch.randn(width, generator=generator) for layer in layers}
    return Direction(
        vectors, {site: 6.0 + site.layer for site in vectors}, origin(depth, width), f"made up, seed {seed}"
    )


def made_at(seed: int, site: Site) -> Direction:
    """Return a random vector at any site of a tiny model, as wide as its activations."""
    width = WIDTH // HEADS if site.point == "head" else WIDTH
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return Direction({site: vector}, {site: 2.0 + 0.1 * site.layer}, origin(), f"made up, seed {seed}")


def plan(seed: int = 0, layers: Sequence[int] = (1,), *, span: str = "all", coefficient: float = 1.0) -> Plan:
    """Return a plan in raw units, strong enough to change what a tiny model says."""
    return Plan(direction(seed, layers), span=span, coefficient=coefficient, unit="raw")


def mixed_plans() -> list[Plan]:
    """Return one plan for each of `PROMPTS`, no two alike: vectors, sites, strengths, spans, several steps, none."""
    return [
        plan(1, [1], coefficient=1.0),
        plan(2, [0, 3], span="prompt", coefficient=-0.7) + plan(3, [3], span="all", coefficient=0.5),
        Plan(),
        plan(4, [2], span="last", coefficient=2.0) + plan(5, [2], span="generated", coefficient=1.0),
        plan(6, [1, 2], coefficient=0.3) + plan(7, [0], span="prompt") + plan(1, [1], coefficient=0.0),
    ]
