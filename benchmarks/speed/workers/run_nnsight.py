"""nnsight: traces that save every block's output to record, and that replace one block's output to steer."""

import warnings
from typing import Any

import torch
from common import ONCE, Contender, batches, cut, letters_of, load, recorded, serve
from nnsight import TransformersModel

# A generation that ends before the limit is what it should be; nnsight says so of every loop over its steps.
warnings.filterwarnings("ignore", message=".*was never reached")


class NNsight(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        hf, tokenizer = load(folder, dtype)
        self.model = TransformersModel(hf, tokenizer=tokenizer, task="text-generation")
        self.filler = tokenizer.pad_token_id
        self.dtype = dtype

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        model, parts = self.model, []
        for batch in batches(job["tokens"], self.filler):
            with model.trace(batch, **ONCE):
                states = [block.output[:, -1] for block in model.model.layers]
                states.save()
            parts.append(torch.stack([state.float() for state in states]))
        return recorded(torch.cat(parts, 1), sum(map(len, job["tokens"])), job, job["tokens"])

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        model, layer, values = self.model, job["layer"], []
        for coefficient in job["coefficients"]:
            added = (coefficient * job["vector"]).to(self.dtype)
            rows: list[list[float]] = []
            for batch in batches(job["tokens"], self.filler):
                with model.trace(batch, **ONCE):
                    model.model.layers[layer].output = model.model.layers[layer].output + added
                    logits = model.lm_head.output[:, -1].save()
                rows += letters_of(logits, job["letters"])
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        model, layer, count, written = self.model, job["layer"], job["new_tokens"], []
        for coefficient in job["coefficients"]:
            added = (coefficient * job["vector"]).to(self.dtype)
            for batch in batches(job["tokens"], self.filler):
                del batch["position_ids"]
                with model.generate(max_new_tokens=count, do_sample=False, pad_token_id=self.filler) as tracer:
                    with tracer.invoke(batch):
                        for _ in tracer.iter[:]:
                            model.model.layers[layer].output = model.model.layers[layer].output + added
                    with tracer.invoke():
                        out = tracer.result.save()
                written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


if __name__ == "__main__":
    serve(NNsight)
