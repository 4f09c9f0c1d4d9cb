"""Plain transformers: a forward hook that adds the vector, left-padded batches of 16, a loop over coefficients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from common import Looped, batches, recorded, serve


class Plain(Looped):
    @contextmanager
    def steered(self, job: dict[str, Any], coefficient: float) -> Iterator[Any]:
        added = (coefficient * job["vector"]).to(self.dtype)
        block = self.model.model.layers[job["layer"]]
        handle = block.register_forward_hook(lambda _module, _inputs, output: output + added)
        try:
            yield self.model
        finally:
            handle.remove()

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        parts = []
        for batch in batches(job["tokens"], self.filler):
            states = self.model.model(**batch, output_hidden_states=True, use_cache=False).hidden_states
            parts.append(torch.stack([state[:, -1].float() for state in states[1:]]))
        return recorded(torch.cat(parts, 1), sum(map(len, job["tokens"])), job, job["tokens"])


if __name__ == "__main__":
    serve(Plain)
