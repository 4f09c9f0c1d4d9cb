"""steering-vectors: its `extract_activations` to record and `SteeringVector.apply` to steer, batches of 16.

Its own default is one text at a time, which would be slower; it takes any batch size, so it gets the one of the others.
"""

from typing import Any

import torch
from common import BATCH, Contender, batches, cut, letters_of, load, recorded, serve
from steering_vectors import SteeringVector
from steering_vectors.train_steering_vector import extract_activations


class SteeringVectors(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model, self.tokenizer = load(folder, dtype)
        self.filler = self.tokenizer.pad_token_id

    def prepare(self, job: dict[str, Any]) -> None:
        if job["work"] != "record":
            self.vector = SteeringVector({job["layer"]: job["vector"].to(self.model.dtype)})

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        texts = job["texts"]
        half = len(texts) // 2
        samples = list(zip(texts[:half], texts[half:], strict=True))
        positive, negative = extract_activations(self.model, self.tokenizer, samples, batch_size=BATCH)
        values = torch.stack([torch.cat(positive[layer] + negative[layer]) for layer in sorted(positive)])
        read = self.tokenizer(texts)["input_ids"] if job.get("full") else None
        return recorded(values, sum(map(len, job["tokens"])), job, read)

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values = []
        for coefficient in job["coefficients"]:
            rows: list[list[float]] = []
            with self.vector.apply(self.model, multiplier=coefficient):
                for batch in batches(job["tokens"], self.filler):
                    logits = self.model(**batch, use_cache=False, logits_to_keep=1).logits[:, -1]
                    rows += letters_of(logits, job["letters"])
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        written = []
        for coefficient in job["coefficients"]:
            with self.vector.apply(self.model, multiplier=coefficient):
                for batch in batches(job["tokens"], self.filler):
                    del batch["position_ids"]
                    out = self.model.generate(
                        **batch, max_new_tokens=job["new_tokens"], do_sample=False, pad_token_id=self.filler
                    )
                    written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


if __name__ == "__main__":
    serve(SteeringVectors)
