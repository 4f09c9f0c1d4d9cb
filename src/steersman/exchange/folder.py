"""An ordinary Hugging Face folder, written from changed weights and read back to see what it does."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.errors import InputError
from steersman.intervention import steer
from steersman.model.conversion import both_rope_forms, quiet, write_json
from steersman.model.encode import prompt_tokens
from steersman.model.handle import Handle
from steersman.model.load import load
from steersman.plan import Plan
from steersman.prompts import pairs

_ROWS = 4
_LONGEST = 48
"""Tokens of a row of the check."""


def save_folder(model: Handle, config: Any, state: dict[str, Tensor], folder: Path) -> None:
    """Save a model of the same class with another configuration and other weights, for transformers 4.57 and 5.

    Args:
        model: gives the class, the tokenizer and the settings of generation.
        config: the configuration.
        state: all weights by name, on the CPU.
        folder: where to; empty.

    Raises:
        InputError: when configuration and weights do not belong together.
        OSError: when the folder cannot be written.
    """
    with quiet():
        with torch.device("meta"):
            network = type(model.hf)(config)
        missing, unexpected = network.load_state_dict(state, strict=False, assign=True)
        if missing or unexpected:
            raise InputError(f"expected the weights of {type(model.hf).__name__}, got others: {missing}, {unexpected}")
        if getattr(config, "tie_word_embeddings", False):
            network.tie_weights()
        network.generation_config = copy.deepcopy(model.hf.generation_config)
        network.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    _readable_by_both(config, folder)
    # safetensors makes its files readable to their owner alone; the umask decides instead.
    for file in folder.glob("*.safetensors"):
        file.chmod((folder / "config.json").stat().st_mode)


def _readable_by_both(config: Any, folder: Path) -> None:
    """Write the configuration in words that transformers 4.57 and 5 both know."""
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    values = both_rope_forms(values | {"tie_word_embeddings": bool(getattr(config, "tie_word_embeddings", False))})
    write_json(folder / "config.json", values)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # its name in transformers 4.57, which 5 knows too
    write_json(path, settings)


def compare(model: Handle, plan: Plan, folder: Path, tolerance: float | None) -> tuple[float, float, float]:
    """Return the largest difference of a logit, what steering does to one, and what was allowed.

    Args:
        model: the model, which is steered by the plan.
        plan: what the folder's model should do by itself.
        folder: as `save_folder` wrote it.
        tolerance: largest difference; where not given, 1e-4 of the largest logit, 16 rounding steps of a narrower type.

    Raises:
        InputError: when the folder's model differs from the steered one by more.
    """
    kind = str(model.dtype).removeprefix("torch.")
    baked = load(str(folder), dtype=kind, device=str(model.device))
    # Attention computed otherwise rounds otherwise, and where logits are capped may even leave the cap out.
    baked.hf.set_attn_implementation(model.hf.config._attn_implementation)
    rows = [prompt_tokens(model, pair.positive.prompt)[:_LONGEST] for pair in pairs("refusal")[:_ROWS]]
    plain, found = ([_logits(each, row, Plan()) for row in rows] for each in (model, baked))
    steered = [_logits(model, row, plan) for row in rows]
    difference = max(float((a - b).abs().max()) for a, b in zip(found, steered, strict=True))
    effect = max(float((a - b).abs().max()) for a, b in zip(plain, steered, strict=True))
    largest = max(float(row.abs().max()) for row in steered)
    steps = 16 * torch.finfo(model.dtype).eps
    allowed = tolerance if tolerance is not None else largest * max(1e-4, steps)
    # Even where types are narrow: what steering does must stand out from what baking gets wrong.
    if not difference <= allowed or (effect > allowed and difference > 0.1 * effect):
        raise InputError(
            f"expected the logits of the steered model, got ones that differ by up to {difference:.2g} (allowed "
            f"{allowed:.2g}; steering moves them by {effect:.2g}): the architecture of {model.name} does not let this "
            "plan be written into its weights exactly; nothing was kept, steer at run time instead"
        )
    return difference, effect, allowed


@torch.inference_mode()
def _logits(model: Handle, row: list[int], plan: Plan) -> Tensor:
    with steer(model, plan):
        return model.hf(torch.tensor([row], device=model.device)).logits[0].float().cpu()
