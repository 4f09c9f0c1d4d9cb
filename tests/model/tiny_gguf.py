"""A GGUF file written by the gguf package alone, as llama.cpp's converter lays it out: a tiny Llama and its words."""

from pathlib import Path

import gguf
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

DEPTH, WIDTH, HEADS, GROUPS = 3, 32, 4, 2
SPECIALS = ["<|end|>", "<|start|>"]
# A space is Ġ in the byte alphabet; two of them are one token, as are the words.
MERGES = ["Ġ Ġ", "i s", "Ġ is"]
TOKENS = [*SPECIALS, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}<|start|>"


def network(seed: int = 0) -> LlamaForCausalLM:
    """Return a Llama with random weights, in which rotary positions and grouped heads matter."""
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=128,
        initializer_range=0.25,
        bos_token_id=1,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().eval()


def write(path: Path, model: LlamaForCausalLM, pre: str = "smollm") -> Path:
    """Write `model` with a byte-level vocabulary whose pre-tokenizer is called `pre`."""
    file = gguf.GGUFWriter(path, "llama")
    file.add_block_count(DEPTH)
    file.add_context_length(128)
    file.add_embedding_length(WIDTH)
    file.add_feed_forward_length(2 * WIDTH)
    file.add_head_count(HEADS)
    file.add_head_count_kv(GROUPS)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_rope_freq_base(10000.0)
    file.add_vocab_size(len(TOKENS))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre(pre)
    file.add_token_list(TOKENS)
    kinds = [gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL for token in TOKENS]
    file.add_token_types(kinds)
    file.add_token_merges(MERGES)
    file.add_bos_token_id(1)
    file.add_eos_token_id(0)
    file.add_add_bos_token(False)
    file.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, DEPTH)
    for name, weights in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weights = _interleaved(weights, HEADS if "q_proj" in name else GROUPS)
        stored = names.get_name(name, try_suffixes=(".weight",))
        assert stored is not None
        file.add_tensor(stored, weights.numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _interleaved(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotary pairs side by side, as llama.cpp wants them, instead of half a head apart."""
    return weights.reshape(heads, 2, -1, weights.shape[1]).transpose(1, 2).reshape(weights.shape).contiguous()
