"""steering-vectors: its `extract_activations` to record and `SteeringVector.apply` to steer, batches of 16.

Its own default is one text at a time, which would be slower; it takes any batch size, so it gets the one of the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from common import BATCH, Looped, recorded, serve
from steering_vectors import SteeringVector
from steering_vectors.train_steering_vector import extract_activations


class SteeringVectors(Looped):
    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        texts = job["texts"]
        half = len(texts) // 2
        samples = list(zip(texts[:half], texts[half:], strict=True))
        positive, negative = extract_activations(self.model, self.tokenizer, samples, batch_size=BATCH)
        values = torch.stack([torch.cat(positive[layer] + negative[layer]) for layer in sorted(positive)])
        read = self.tokenizer(texts)["input_ids"] if job.get("full") else None
        return recorded(values, sum(map(len, job["tokens"])), job, read)

    @contextmanager
    def steered(self, job: dict[str, Any], coefficient: float) -> Iterator[Any]:
        vector = SteeringVector({job["layer"]: job["vector"].to(self.dtype)})
        with vector.apply(self.model, multiplier=coefficient):
            yield self.model


if __name__ == "__main__":
    serve(SteeringVectors)
