"""What every worker does alike: read one JSON request a line, do it, time it, write one JSON answer a line.

A request names a work, the file of its material and the settings; a contender has one method for each work it can do.
Nothing of steersman is used here, so that this runs in any contender's environment.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

Rows = list[list[int]]
BATCH = 16
"""Rows of a batch where a contender leaves the choice to its user."""

ONCE = {"use_cache": False, "logits_to_keep": 1}
"""Of a pass that is not read on behind, and whose last logits are wanted."""

MARK = "answer: "
"""Before every answer: a library may print while it is imported."""
BY_ROW = ("prompts", "texts", "tokens", "items", "answers")
"""What of the material has an entry for each row."""


class Contender:
    """A tool with the model loaded once.

    Args:
        folder: the model's.
        dtype: of weights and activations.
    """

    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        raise NotImplementedError

    def prepare(self, job: dict[str, Any]) -> None:
        """Set up what no user would set up anew for every run; not timed."""


class Looped(Contender):
    """One whose users loop over coefficients, in left-padded batches of 16.

    Args:
        folder: the model's.
        dtype: of weights and activations.
    """

    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model, self.tokenizer = load(folder, dtype)
        self.filler, self.dtype = self.tokenizer.pad_token_id, dtype

    def steered(self, job: dict[str, Any], coefficient: float) -> AbstractContextManager[Any]:
        """Return a context that gives what is called in the model's place."""
        raise NotImplementedError

    def last_logits(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return `[batch, vocab]` logits of the last token."""
        return model(**batch, **ONCE).logits[:, -1]

    def written(self, model: Any, batch: dict[str, torch.Tensor], **settings: Any) -> torch.Tensor:
        """Return prompts and what was written behind them, greedily."""
        return model.generate(**batch, **settings)

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values = []
        for coefficient in job["coefficients"]:
            rows: list[list[float]] = []
            with self.steered(job, coefficient) as model:
                for batch in batches(job["tokens"], self.filler):
                    rows += letters_of(self.last_logits(model, batch), job["letters"])
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        written, size = [], job.get("batch", BATCH)
        settings = {"max_new_tokens": job["new_tokens"], "do_sample": False, "pad_token_id": self.filler}
        for coefficient in job["coefficients"]:
            with self.steered(job, coefficient) as model:
                for batch in batches(job["tokens"], self.filler, size):
                    del batch["position_ids"]
                    out = self.written(model, batch, **settings)
                    written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


def serve(make: Callable[[str, torch.dtype], Contender]) -> None:
    """Answer requests until there are no more: `python run_NAME.py FOLDER DTYPE THREADS`."""
    folder, dtype, threads = sys.argv[1:]
    # Libraries print; from here on what they say goes to the errors.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(int(threads))
    contender = make(folder, getattr(torch, dtype))
    say(answers, {"ready": True, "versions": versions(), "threads": torch.get_num_threads()})
    files: dict[str, dict[str, Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(answers, answer(contender, request, files))
        except Exception as error:
            traceback.print_exc()
            last = str(error).strip().splitlines() or [""]
            say(answers, {"error": f"{type(error).__name__}: {last[-1][:200]}"})


def say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(MARK + json.dumps(answer) + "\n")
    answers.flush()


def answer(contender: Contender, request: dict[str, Any], files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what one request came to: its seconds, what it computed, and the most memory held meanwhile."""
    work = getattr(contender, request["work"], None)
    if work is None:
        return {"unsupported": f"it has no way of its own to {request['work']} here"}
    if request["file"] not in files:
        files[request["file"]] = json.loads(Path(request["file"]).read_text(encoding="utf-8"))
    job = shortened(files[request["file"]], request.get("limit")) | request
    if "vector_file" in job:
        job["vector"] = torch.from_numpy(np.load(job["vector_file"]))
    contender.prepare(job)
    reset_peak()
    begun = time.perf_counter()
    found = work(job)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak_mib": peak_mib()} | found


def shortened(material: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return the material with its first rows alone."""
    return {name: rows[:limit] if name in BY_ROW else rows for name, rows in material.items()}


def reset_peak() -> None:
    """Forget the most memory held so far, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mib() -> float:
    """Return the most memory held, MiB: since `reset_peak` where the system tells, else since the start."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    from importlib import metadata

    wanted = ("torch", "transformers", "repeng", "steering-vectors", "pyvene", "nnsight", "lm_eval")
    found = {each.metadata["Name"] for each in metadata.distributions()}
    return {name: metadata.version(name) for name in wanted if name in found}


def load(folder: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return the model and its tokenizer as transformers loads them, padding on the left."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), tokenizer


def batches(rows: Rows, filler: int, size: int = BATCH) -> Iterator[dict[str, torch.Tensor]]:
    """Yield left-padded batches in the rows' own order."""
    for start in range(0, len(rows), size):
        yield padded(rows[start : start + size], filler)


def padded(rows: Rows, filler: int) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    tokens = torch.tensor([[filler] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": tokens, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def letters_of(logits: torch.Tensor, letters: list[int]) -> list[list[float]]:
    """Return the letters' log-probabilities, nats, of `[batch, vocab]` logits."""
    return logits.float().log_softmax(-1)[:, letters].tolist()


def cut(written: torch.Tensor, stops: set[int]) -> Rows:
    """Return what was written before each row's end."""
    rows = []
    for row in written.tolist():
        end = next((place for place, token in enumerate(row) if token in stops), len(row))
        rows.append(row[:end])
    return rows


def recorded(values: torch.Tensor, tokens: int, job: dict[str, Any], read: Rows | None = None) -> dict[str, Any]:
    """Return `[layer, row, d]` recordings as an answer: all where asked, else the mean size below the top layer."""
    found: dict[str, Any] = {"tokens": tokens, "shape": list(values.shape), "digest": float(values[:-1].abs().mean())}
    if job.get("full"):
        np.save(job["out"], values.float().numpy())
        found |= {"out": job["out"], "read": read}
    return found
