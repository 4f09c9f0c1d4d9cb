"""From a GGUF file to a Hugging Face folder that both major versions of transformers read alike, without a sound.

transformers reads the weights of a GGUF file exactly, and its configuration and tokenizer almost so; what it misses
is put right here.
"""

import contextlib
import json
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging as transformers_logging

from steersman.errors import ModelError

# Threads take turns: the silence around transformers' loading changes process-wide state for a while.
_SILENCE = threading.RLock()

# llama.cpp splits text for these vocabularies at every digit and then as GPT-2 does (src/llama-vocab.cpp);
# transformers knows none of the names and leaves the digits out.
_DIGITS_APART = frozenset({"codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"})


def unpack(file: Path, folder: Path) -> None:
    """Unpack the default model's GGUF file into a float32 Hugging Face folder; transformers 4.57 and 5 read it alike.

    Args:
        file: the GGUF file.
        folder: where to, empty.

    Raises:
        ModelError: when transformers cannot read the file.
        OSError, SafetensorError: when the folder cannot be written.
    """
    source = {"gguf_file": file.name, "local_files_only": True}
    with quiet():
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.float32, **source, **unpacked_blocks()
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **source)
            model.save_pretrained(folder)
        except (OSError, SafetensorError) as error:
            if getattr(error, "errno", None) is not None or "os error" in str(error):
                raise  # the disk's fault, put into words by the caller; transformers' own OSErrors have no number
            raise _unconvertible(error) from error
        except Exception as error:
            raise _unconvertible(error) from error
    _write_config(model.config, folder)
    _write_tokenizer(tokenizer, folder)
    # safetensors makes its file readable to its owner alone; a cache may be shared, so the umask decides instead.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def unpacked_blocks() -> dict[str, Any]:
    """Return the argument that makes transformers unpack a GGUF file's blocks into plain weights."""
    # transformers 5 needs to be told; 4.57 always does and has no such word.
    loader = getattr(transformers, "GgufConfig", None)
    return {} if loader is None else {"quantization_config": loader(dequantize=True)}


def set_digits_apart(tokenizer: Any, file: Path) -> None:
    """Split text at every digit where the GGUF file's vocabulary was learned so and transformers leaves it out.

    With the default model's file transformers reads "x  12" as x|_|_|1|2 where the model was trained on x|__|1|2.
    Only pre-tokenizers known to be of this form are corrected; whatever else the file names stays as transformers
    reads it.

    Args:
        tokenizer: what transformers made of the file; changed in place.
        file: the GGUF file.
    """
    fields = gguf.GGUFReader(file).fields
    keys = (gguf.Keys.Tokenizer.MODEL, gguf.Keys.Tokenizer.PRE)
    kind, split = (fields[key].contents() if key in fields else None for key in keys)
    if kind == "gpt2" and split in _DIGITS_APART:  # byte-level BPE, by its name in the format
        tokenizer.backend_tokenizer.pre_tokenizer = _digits_then_words()


def _digits_then_words() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])


def _unconvertible(error: Exception) -> ModelError:
    reason = str(error).strip().rstrip(".") or "no message"
    return ModelError(
        f"The default model was fetched but transformers {transformers.__version__} could not convert it "
        f"({type(error).__name__}: {reason}); steersman expects transformers >= 4.57, < 6."
    )


def _write_config(config: Any, folder: Path) -> None:
    """Write `config.json` and `generation_config.json` in words both major versions of transformers know."""
    values = config.to_diff_dict() | {"architectures": ["LlamaForCausalLM"], "dtype": "float32"}
    values = both_rope_forms(values)
    values["tie_word_embeddings"] = True  # the file holds one matrix for both ends
    # The version is in the record; without it the folder's bytes are the same whichever version converts.
    for left_out in ("_name_or_path", "_model_name_or_path", "rope_scaling", "torch_dtype", "transformers_version"):
        values.pop(left_out, None)
    values.pop("quantization_config", None)
    write_json(folder / "config.json", values)
    # <|im_end|> closes a chat turn; it is the end token, and pads as in the original release.
    ends = {name: values[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", ends)


def both_rope_forms(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose rotary embedding is written as transformers 4.57 and as transformers 5 know it.

    4.57 knows only `rope_theta` and `rope_scaling`, 5 writes only `rope_parameters`: with one missing the other version
    falls back to the base 10,000 without a word, and every logit is wrong. A model without rotary embedding, or with
    several in one (which 4.57 writes differently from family to family), is left as it is.

    Args:
        values: of a `config.json`.
    """
    rope = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    if any(isinstance(value, dict) for value in rope.values()) or not (rope or "rope_theta" in values):
        return values
    theta = float(rope.get("rope_theta") or values["rope_theta"])
    kind = rope.get("rope_type") or rope.get("type") or "default"
    both = values | {"rope_theta": theta, "rope_parameters": rope | {"rope_theta": theta, "rope_type": kind}}
    if "partial_rotary_factor" in rope:
        both.setdefault("partial_rotary_factor", rope["partial_rotary_factor"])
    if kind != "default":
        both["rope_scaling"] = rope | {"rope_type": kind}
    return both


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer as the model's own release has it; transformers' reading of the GGUF file is not exact."""
    tokenizer.backend_tokenizer.pre_tokenizer = _digits_then_words()  # the file names it `smollm`
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    values["decoder"] = values["pre_tokenizer"]["pretokenizers"][1]
    values |= dict.fromkeys(("normalizer", "post_processor", "padding", "truncation"))
    # 4.57 takes it for a SentencePiece model, with byte tokens that this vocabulary does not have.
    values["model"] |= {"unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    values["model"] |= {"dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
    (folder / "tokenizer.json").write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "model_max_length": 8192,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", settings)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` with sorted keys, so that equal values are equal bytes."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' log lines, warnings and progress bars off the terminal; leave every setting as it was."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_SILENCE)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.callback(transformers_logging.set_verbosity, transformers_logging.get_verbosity())
        transformers_logging.set_verbosity_error()
        if transformers_logging.is_progress_bar_enabled():
            # transformers' switch throws huggingface_hub's as well, which may have stood otherwise.
            hub_was_silent = are_progress_bars_disabled()
            stack.callback(lambda: disable_progress_bars() if hub_was_silent else None)
            stack.callback(transformers_logging.enable_progress_bar)
            transformers_logging.disable_progress_bar()
        # The GGUF reader draws a plain tqdm bar that no switch reaches.
        bar = getattr(modeling_gguf_pytorch_utils, "tqdm", None)
        if bar is not None:
            stack.callback(setattr, modeling_gguf_pytorch_utils, "tqdm", bar)
            modeling_gguf_pytorch_utils.tqdm = lambda items, **_: items  # pyright: ignore[reportPrivateImportUsage]
        yield
