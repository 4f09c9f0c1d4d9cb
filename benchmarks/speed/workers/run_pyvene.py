"""pyvene: `CollectIntervention` at every block to record, `AdditionIntervention` at one to steer, batches of 16."""

from typing import Any

import pyvene
import torch
from common import Contender, batches, cut, letters_of, load, recorded, serve

ONCE = {"use_cache": False, "logits_to_keep": 1}


class Pyvene(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model, self.tokenizer = load(folder, dtype)
        self.filler = self.tokenizer.pad_token_id
        self.dtype = dtype
        self.collecting: pyvene.IntervenableModel | None = None

    def steered(self, job: dict[str, Any], coefficient: float) -> pyvene.IntervenableModel:
        added = (coefficient * job["vector"]).to(self.dtype)
        addition = pyvene.AdditionIntervention(embed_dim=len(added), source_representation=added)
        place = f"model.layers[{job['layer']}].output"
        return pyvene.IntervenableModel([{"component": place, "intervention": addition}], model=self.model)

    def prepare(self, job: dict[str, Any]) -> None:
        """Set up what collects every block's output, as a user would once."""
        if job["work"] == "record" and self.collecting is None:
            places = [f"model.layers[{layer}].output" for layer in range(self.model.config.num_hidden_layers)]
            self.collecting = pyvene.IntervenableModel(
                [{"component": place, "intervention": pyvene.CollectIntervention()} for place in places],
                model=self.model,
            )

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        depth = self.model.config.num_hidden_layers
        parts = []
        for batch in batches(job["tokens"], self.filler):
            rows, length = batch["input_ids"].shape
            (_, states), _ = self.collecting(batch | ONCE, unit_locations={"base": length - 1})
            parts.append(torch.stack(states).reshape(depth, rows, -1).float())
        return recorded(torch.cat(parts, 1), sum(map(len, job["tokens"])), job, job["tokens"])

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values = []
        for coefficient in job["coefficients"]:
            model = self.steered(job, coefficient)
            rows: list[list[float]] = []
            for batch in batches(job["tokens"], self.filler):
                _, output = model(batch | ONCE)
                rows += letters_of(output.logits[:, -1], job["letters"])
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        written = []
        for coefficient in job["coefficients"]:
            model = self.steered(job, coefficient)
            for batch in batches(job["tokens"], self.filler):
                del batch["position_ids"]
                _, out = model.generate(
                    batch,
                    intervene_on_prompt=True,
                    max_new_tokens=job["new_tokens"],
                    do_sample=False,
                    pad_token_id=self.filler,
                )
                written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


if __name__ == "__main__":
    serve(Pyvene)
