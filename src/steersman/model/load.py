"""Loading: the embedded default, a hub id, a folder or a `.gguf` file, as a `Model`."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from steersman.errors import ModelError
from steersman.model.conversion import quiet, set_digits_apart, unpacked_blocks
from steersman.model.encode import template_suffix
from steersman.model.layout import discover, probe_device, verify
from steersman.model.loaded import Model
from steersman.model.precision import resolve_device, resolve_dtype
from steersman.model.sources import Source, cached_commit, resolve


def load(
    name: str = "default",
    *,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | Mapping[str, Any] | None = None,
    offload_folder: str | Path | None = None,
    blocks: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Model:
    """Return a model ready to steer.

    Of a model that also sees or hears, the text decoder is what is steered.

    Args:
        name: `default` (SmolLM2-135M-Instruct, fetched once), a Hugging Face id (`owner/name` or
            `owner/name@revision`), a folder with a `config.json`, or a `.gguf` file.
        dtype: `auto` (bfloat16 where the processor has it natively, else float32), `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; where the whole model goes, unless there is a map.
        device_map: where its parts go, as accelerate reads it: `auto`, or `{path: device}`, in which `cpu` and `disk`
            keep weights there until they are needed.
        offload_folder: where weights on `disk` go.
        blocks: dotted path of the decoder blocks, where the structure is ambiguous.
        notify: called with a few words at each slow stage.

    Raises:
        ModelError: for a model that cannot be found, fetched or understood.
    """
    source = resolve(name, notify)
    where = resolve_device(device)
    kind = resolve_dtype(dtype, where)
    if notify and source.kind == "hub" and not source.revision:
        notify(f"fetching {source.id} from the Hugging Face hub")
    with quiet():
        try:
            model, tokenizer, revision = _read(source, kind, _placing(device_map, offload_folder))
            if device_map is None:
                model.to(where)
            model.eval()
        except ModelError:
            raise
        # Whatever a file holds that is not what it should be: the libraries below raise errors of every kind.
        except Exception as error:
            raise ModelError(
                f"the model {source.id!r} could not be loaded ({_first_line(error)}); {_advice(source)}"
            ) from error
    return wrap(model, tokenizer, name=source.id, revision=revision, blocks=blocks)


def wrap(model: Any, tokenizer: Any, *, name: str = "", revision: str = "", blocks: str | None = None) -> Model:
    """Return a model that is already in memory, ready to steer.

    Args:
        model: a Hugging Face causal language model, also one with an adapter (PEFT) around it, compiled
            (`torch.compile`), quantised or spread over devices, or a model that sees, whose text decoder is steered.
        tokenizer: its tokenizer.
        name: what reports call it.
        revision: hash of its weights, where known.
        blocks: dotted path of the decoder blocks, where the structure is ambiguous.

    Raises:
        ModelError: when its decoder blocks are not found, an edit there does not move the logits, it is no causal
            language model, or the tokenizer is an empty one.
    """
    if tokenizer is None or not _tells_apart(tokenizer):
        raise ModelError(
            f"expected the tokenizer of {name or type(model).__name__}, got {type(tokenizer).__name__} without a "
            "vocabulary; keep its tokenizer.json beside the weights"
        )
    layout = discover(model, blocks)
    verify(model, layout)
    template = getattr(tokenizer, "chat_template", None) or ""
    first = next(model.parameters())
    return Model(
        hf=model,
        tokenizer=tokenizer,
        layout=layout,
        name=name or type(model).__name__,
        revision=revision,
        template=hashlib.sha256(str(template).encode()).hexdigest() if template else "",
        dtype=first.dtype,
        device=probe_device(model),
        stop_tokens=_stop_tokens(model, tokenizer),
        suffix=template_suffix(tokenizer),
    )


def _placing(device_map: str | Mapping[str, Any] | None, offload_folder: str | Path | None) -> dict[str, Any]:
    """Return the arguments that tell transformers where a model's parts go."""
    if device_map is None:
        return {}
    placing: dict[str, Any] = {"device_map": device_map if isinstance(device_map, str) else dict(device_map)}
    return placing if offload_folder is None else placing | {"offload_folder": str(offload_folder)}


def _read(source: Source, dtype: torch.dtype, placing: dict[str, Any]) -> tuple[Any, Any, str]:
    """Return the model, its tokenizer and the revision that both are."""
    # Undecided, transformers would ask at the terminal whether to run the repository's own code.
    place: dict[str, Any] = {
        "pretrained_model_name_or_path": str(source.path or source.id),
        "trust_remote_code": False,
    }
    if source.gguf_file:
        place["gguf_file"] = source.gguf_file
    elif source.asked:
        place["revision"] = source.asked
    config = AutoConfig.from_pretrained(**place)
    readers = {
        AutoModelForCausalLM: MODEL_FOR_CAUSAL_LM_MAPPING,
        AutoModelForImageTextToText: MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,  # what sees and writes
    }
    reader = next((reader for reader, known in readers.items() if type(config) in known), None)
    if reader is None:
        raise ModelError(
            f"the model {source.id!r} is a {config.model_type!r}, of which transformers {transformers.__version__} "
            "knows no causal language model; name a decoder"
        )
    # Reading the config has brought the cache up to date. transformers 5 no longer tells the commit itself.
    revision = cached_commit(source.id, source.asked) if source.kind == "hub" else source.revision
    if source.kind == "hub" and revision:
        place["revision"] = revision  # weights and tokenizer of one commit, even if a branch moves meanwhile
    loaded: Any = reader.from_pretrained(
        **place,
        **placing,
        **(unpacked_blocks() if source.gguf_file else {}),
        config=config,
        dtype=dtype,
        use_safetensors=True,  # a pickle may run code
        # transformers makes up what a file lacks, and says so only in its log: refused below.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    model, report = loaded
    made_up = sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])
    if made_up:
        raise ModelError(
            f"the model {source.id!r} is no whole {type(model).__name__}: {len(made_up)} of its weights are missing or "
            f"of another shape, {made_up[0]} among them; name a checkpoint that was saved whole"
        )
    return model, _read_tokenizer(source, place), revision


def _read_tokenizer(source: Source, place: dict[str, Any]) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except Exception as error:
        raise ModelError(
            f"the model {source.id!r} has no tokenizer that can be read ({_first_line(error)}); {_advice(source)}"
        ) from error
    if source.path and source.gguf_file:
        set_digits_apart(tokenizer, source.path / source.gguf_file)
    return tokenizer


def _advice(source: Source) -> str:
    return {
        "default": f"remove {source.path}, and it is made anew",
        "hub": "check the name and the network, or name a model that `steersman models` lists",
        "folder": "save the whole model and its tokenizer there again",
        "gguf": "the file may be cut short: fetch it again",
    }[source.kind]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__


def _tells_apart(tokenizer: Any) -> bool:
    # Where a checkpoint has no tokenizer, transformers makes an empty one for many families without a word.
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("one", "other"))
    return list(one) != list(other)


def _stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    stops: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(value, int):
            stops.add(value)
        elif isinstance(value, list | tuple):
            stops.update(value)
    return frozenset(stops)
