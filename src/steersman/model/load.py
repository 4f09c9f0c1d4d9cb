"""Loading: the embedded default, a hub id, a folder or a `.gguf` file, as a `Model`."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hub_logging

from steersman.errors import ModelError
from steersman.model.layout import discover, verify
from steersman.model.loaded import Model
from steersman.model.precision import resolve_device, resolve_dtype
from steersman.model.sources import Source, resolve


def load(
    name: str = "default",
    *,
    dtype: str = "auto",
    device: str = "auto",
    blocks: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Model:
    """Return a model ready to steer.

    Args:
        name: `default` (SmolLM2-135M-Instruct, fetched once), a Hugging Face id (`owner/name` or `owner/name@revision`),
            a folder with a `config.json`, or a `.gguf` file.
        dtype: `auto` (bfloat16 where the processor has it natively, else float32), `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        blocks: dotted path of the decoder blocks, where the structure is ambiguous.
        notify: called with a few words at each slow stage.

    Raises:
        ModelError: for a model that cannot be found, fetched or understood.
    """
    source = resolve(name, notify)
    where = resolve_device(device)
    kind = resolve_dtype(dtype, where)
    with _quiet():
        try:
            model, tokenizer = _read(source, kind)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"the model {name!r} could not be loaded: {reason}") from error
    model.to(where).eval()
    return wrap(model, tokenizer, name=source.id, revision=_commit(model) or source.revision, blocks=blocks)


def wrap(model: Any, tokenizer: Any, *, name: str = "", revision: str = "", blocks: str | None = None) -> Model:
    """Return a model that is already in memory, ready to steer.

    Args:
        model: a Hugging Face causal language model.
        tokenizer: its tokenizer.
        name: what reports call it.
        revision: hash of its weights, where known.
        blocks: dotted path of the decoder blocks, where the structure is ambiguous.

    Raises:
        ModelError: when its decoder blocks are not found, or an edit there does not move the logits.
    """
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
        device=first.device,
        stop_tokens=_stop_tokens(model, tokenizer),
    )


def _read(source: Source, dtype: torch.dtype) -> tuple[Any, Any]:
    place = str(source.path) if source.path else source.id
    extra: dict[str, Any] = {}
    if source.gguf_file:
        extra["gguf_file"] = source.gguf_file
    elif source.asked:
        extra["revision"] = source.asked
    # transformers 5 renamed torch_dtype to dtype; both are taken from 4.56 on.
    weights = dict(extra)
    if source.gguf_file and hasattr(transformers, "GgufConfig"):
        weights["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **weights), AutoTokenizer.from_pretrained(
        place, **extra
    )


def _stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    stops: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(value, int):
            stops.add(value)
        elif isinstance(value, list | tuple):
            stops.update(value)
    return frozenset(stops)


def _commit(model: Any) -> str:
    return str(getattr(model.config, "_commit_hash", None) or "")


@contextmanager
def _quiet() -> Iterator[None]:
    level, bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.ERROR)
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            hub_logging.enable_progress_bar()
