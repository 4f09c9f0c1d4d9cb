"""One tiny seeded network for each family of decoders, from its configuration; nothing is downloaded.

`FAMILIES` maps a family's name to a function that builds it: 2 to 4 blocks, width 32 to 64, the vocabulary of
`tiny.VOCABULARY`, float32, evaluation mode. Weights are drawn wide enough that tokens, positions and edits matter.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers

from tiny import VOCABULARY

DEPTH, WIDTH, HEADS = 3, 32, 4
IDS = {f"{name}_token_id": VOCABULARY[f"<{name}>"] for name in ("pad", "bos", "eos")}
COMMON: dict[str, Any] = IDS | {"vocab_size": len(VOCABULARY), "initializer_range": 0.2}
USUAL: dict[str, Any] = COMMON | {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS // 2,
    "max_position_embeddings": 256,
}
OLDER: dict[str, Any] = COMMON | {"n_embd": WIDTH, "n_layer": DEPTH, "n_head": HEADS, "n_positions": 256}
HEAD: dict[str, Any] = {"head_dim": WIDTH // HEADS}
WINDOW: dict[str, Any] = {"sliding_window": 6}
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": DEPTH,  # as deep as the text's decoder: depth alone does not tell them apart
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def made(name: str, config: Any, seed: int = 0) -> Any:
    """Return a network of the class called so, with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(transformers, name)(config)
        # Some families begin with zeros or ones in places (norms, sinks, biases): none may stay neutral.
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn(parameter.shape)
    return network.float().eval()


def of(name: str, usual: dict[str, Any] = USUAL, model: str = "", **more: Any) -> Callable[[], Any]:
    """Return a builder of `<name>ForCausalLM` from `<name>Config`."""

    def build() -> Any:
        config = getattr(transformers, f"{name}Config")(**(usual | more))
        return made(model or f"{name}ForCausalLM", config)

    return build


def seeing(name: str, text: str, vision: str, eyes: dict[str, Any], **more: Any) -> Callable[[], Any]:
    """Return a builder of `<name>ForConditionalGeneration`, a text decoder beside a vision tower."""

    def build() -> Any:
        words = getattr(transformers, text)(**(USUAL | more.get("words", {})))
        sight = getattr(transformers, vision)(**eyes)
        rest = {key: value for key, value in more.items() if key != "words"}
        config = getattr(transformers, f"{name}Config")(text_config=words, vision_config=sight, **rest)
        return made(f"{name}ForConditionalGeneration", config)

    return build


LAST = len(VOCABULARY) - 1  # stands for a picture; no text of the tests holds it
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6}

FAMILIES: dict[str, Callable[[], Any]] = {
    "Llama": of("Llama"),
    "Mistral": of("Mistral", **WINDOW),
    "Qwen2": of("Qwen2"),
    "Qwen3": of("Qwen3", **HEAD),
    "Gemma": of("Gemma", **HEAD),
    "Gemma 2": of("Gemma2", **HEAD, **WINDOW, query_pre_attn_scalar=8, attn_implementation="eager"),
    "Gemma 3": of(
        "Gemma3Text",
        **HEAD,
        **WINDOW,
        model="Gemma3ForCausalLM",
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "Phi": of("Phi"),
    "Phi-3": of("Phi3"),
    "GPT-2": of("GPT2", OLDER, model="GPT2LMHeadModel"),
    "GPT-NeoX": of("GPTNeoX"),
    "GPT-J": of("GPTJ", OLDER, rotary_dim=4),
    "GPT-BigCode": of("GPTBigCode", OLDER),
    "OPT": of("OPT", ffn_dim=2 * WIDTH, word_embed_proj_dim=16, init_std=0.2),
    "BLOOM": of("Bloom", OLDER, hidden_size=WIDTH),
    "Falcon": of("Falcon", new_decoder_architecture=True, num_kv_heads=2),
    "Falcon (7B)": of("Falcon", new_decoder_architecture=False, multi_query=True, parallel_attn=True),
    "StableLM": of("StableLm"),
    "OLMo": of("Olmo"),
    "OLMo 2": of("Olmo2"),
    "Cohere": of("Cohere", logit_scale=1.0),
    "Cohere 2": of(
        "Cohere2",
        **WINDOW,
        logit_scale=1.0,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "Granite": of("Granite", residual_multiplier=0.4, embedding_multiplier=2.0, attention_multiplier=0.3),
    "StarCoder2": of("Starcoder2"),
    "SmolLM3": of("SmolLM3", no_rope_layers=[1, 1, 0]),
    "Mixtral": of("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "Qwen3-MoE": of("Qwen3Moe", **HEAD, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    "OLMoE": of("Olmoe", num_experts=4, num_experts_per_tok=2),
    "DeepSeek-V3": of(
        "DeepseekV3",
        **LATENT,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        moe_intermediate_size=16,
        first_k_dense_replace=1,
        num_key_value_heads=HEADS,
    ),
    "GPT-OSS": of("GptOss", **HEAD, **WINDOW, num_local_experts=4, num_experts_per_tok=2),
    "Qwen3-Next": of(
        "Qwen3Next",
        **HEAD,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "LFM2": of("Lfm2", block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention", "conv"]),
    "Jamba": of(
        "Jamba",
        mamba_d_state=8,
        num_experts=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
    ),
    "Bamba": of("Bamba", **MAMBA, attn_layer_indices=[1]),
    "Granite-4 hybrid": of(
        "GraniteMoeHybrid",
        **MAMBA,
        num_local_experts=4,
        shared_intermediate_size=16,
        residual_multiplier=0.4,
        layer_types=["mamba", "attention", "mamba"],
    ),
    "Falcon-H1": of("FalconH1", **HEAD, **MAMBA, mamba_d_ssm=64, ssm_out_multiplier=0.7, attention_out_multiplier=0.6),
    "Zamba2": of(
        "Zamba2",
        layers_block_type=["mamba", "hybrid", "hybrid"],
        mamba_d_state=8,
        n_mamba_heads=8,
        chunk_size=8,
        num_mem_blocks=1,
        adapter_rank=4,
        use_mem_rope=True,
        num_key_value_heads=HEADS,
    ),
    "Nemotron-H": of(
        "NemotronH",
        {key: value for key, value in USUAL.items() if key != "num_hidden_layers"},
        **HEAD,
        layers_block_type=["mamba", "attention", "mlp"],
        mamba_num_heads=8,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=8,
    ),
    "Mamba": of("Mamba", COMMON | {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "state_size": 8}),
    "Gemma 3 with vision": seeing(
        "Gemma3",
        "Gemma3TextConfig",
        "SiglipVisionConfig",
        VISION,
        words=HEAD | WINDOW | {"query_pre_attn_scalar": 8},
        mm_tokens_per_image=4,
        image_token_index=LAST,
        boi_token_index=LAST - 1,
        eoi_token_index=LAST - 2,
    ),
    "Qwen2-VL": seeing(
        "Qwen2VL",
        "Qwen2VLTextConfig",
        "Qwen2VLVisionConfig",
        {"depth": DEPTH, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "patch_size": 4},
        words={"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
        image_token_id=LAST,
        video_token_id=LAST - 1,
        vision_start_token_id=LAST - 2,
        vision_end_token_id=LAST - 3,
    ),
    "LLaVA": seeing(
        "Llava", "LlamaConfig", "CLIPVisionConfig", VISION | {"projection_dim": 16}, image_token_index=LAST
    ),
    "SmolVLM": seeing("SmolVLM", "LlamaConfig", "SmolVLMVisionConfig", VISION, image_token_id=LAST),
}

# Before transformers 5 these keep caches of their own, from which rows cannot be taken, lack a configuration, or (the
# last) warn of what torch has deprecated.
_LATER = ("LFM2", "Jamba", "Bamba", "Granite-4 hybrid", "Falcon-H1", "Zamba2", "Nemotron-H", "Qwen2-VL", "GPT-BigCode")
if int(transformers.__version__.partition(".")[0]) < 5:
    for _name in _LATER:
        del FAMILIES[_name]
