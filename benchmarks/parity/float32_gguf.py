"""A model of the Llama architecture as a float32 GGUF file, written from weights in memory; nothing is quantised."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch


def write(model: Any, path: Path) -> Path:
    """Write a `steersman.Model`; needs RMSNorm blocks with separate projections and a byte-level BPE vocabulary."""
    network, config = model.hf, model.hf.config
    if config.model_type != "llama":
        raise SystemExit(f"expected a Llama model to write as GGUF, got {config.model_type}")
    file = gguf.GGUFWriter(path, "llama")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    rope = getattr(config, "rope_parameters", None) or {}
    file.add_name(model.name)
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(heads)
    file.add_head_count_kv(groups)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_dimension_count(config.head_dim)
    file.add_rope_freq_base(float(rope.get("rope_theta") or config.rope_theta))
    file.add_vocab_size(config.vocab_size)
    file.add_file_type(gguf.LlamaFileType.ALL_F32)
    _vocabulary(file, model)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    tied = config.tie_word_embeddings
    for name, weights in network.state_dict().items():
        if tied and name.startswith("lm_head"):
            continue  # llama.cpp takes the embedding then
        weights = weights.float()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weights = _interleaved(weights, heads if "q_proj" in name else groups)
        stored = names.get_name(name, try_suffixes=(".weight",))
        if stored is None:
            raise SystemExit(f"expected a weight that GGUF has a name for, got {name}")
        file.add_tensor(stored, weights.contiguous().numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _vocabulary(file: gguf.GGUFWriter, model: Any) -> None:
    core = json.loads(model.tokenizer.backend_tokenizer.to_str())
    special = {entry["content"] for entry in core["added_tokens"]}
    words = model.tokenizer.convert_ids_to_tokens(list(range(model.hf.config.vocab_size)))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in core["model"]["merges"]]
    kinds = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words]
    file.add_tokenizer_model("gpt2")  # byte-level BPE, by its name in the format
    file.add_tokenizer_pre("smollm")
    file.add_token_list(words)
    file.add_token_types(kinds)
    file.add_token_merges(merges)
    file.add_bos_token_id(model.tokenizer.bos_token_id)
    file.add_eos_token_id(model.tokenizer.eos_token_id)
    file.add_add_bos_token(False)


def _interleaved(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Set a rotary pair's two rows side by side, as llama.cpp wants them, instead of half a head apart."""
    return weights.reshape(heads, 2, -1, weights.shape[1]).transpose(1, 2).reshape(weights.shape)
