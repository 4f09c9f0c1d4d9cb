"""Plain transformers: a forward hook that adds the vector, left-padded batches of 16, a loop over coefficients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from common import Contender, batches, cut, letters_of, load, recorded, serve


class Plain(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model, self.tokenizer = load(folder, dtype)
        self.filler = self.tokenizer.pad_token_id
        self.dtype = dtype

    @contextmanager
    def steered(self, job: dict[str, Any], coefficient: float) -> Iterator[None]:
        added = (coefficient * job["vector"]).to(self.dtype)
        block = self.model.model.layers[job["layer"]]
        handle = block.register_forward_hook(lambda _module, _inputs, output: output + added)
        try:
            yield
        finally:
            handle.remove()

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        parts = []
        for batch in batches(job["tokens"], self.filler):
            states = self.model.model(**batch, output_hidden_states=True, use_cache=False).hidden_states
            parts.append(torch.stack([state[:, -1].float() for state in states[1:]]))
        return recorded(torch.cat(parts, 1), sum(map(len, job["tokens"])), job, job["tokens"])

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values = []
        for coefficient in job["coefficients"]:
            rows: list[list[float]] = []
            with self.steered(job, coefficient):
                for batch in batches(job["tokens"], self.filler):
                    logits = self.model(**batch, use_cache=False, logits_to_keep=1).logits[:, -1]
                    rows += letters_of(logits, job["letters"])
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        written = []
        for coefficient in job["coefficients"]:
            with self.steered(job, coefficient):
                for batch in batches(job["tokens"], self.filler):
                    del batch["position_ids"]
                    out = self.model.generate(
                        **batch, max_new_tokens=job["new_tokens"], do_sample=False, pad_token_id=self.filler
                    )
                    written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


if __name__ == "__main__":
    serve(Plain)
