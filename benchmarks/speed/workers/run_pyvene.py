"""pyvene: `CollectIntervention` at every block to record, `AdditionIntervention` at one to steer, batches of 16."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyvene
import torch
from common import ONCE, Looped, batches, recorded, serve


class Pyvene(Looped):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.collecting: pyvene.IntervenableModel | None = None

    def steered(self, job: dict[str, Any], coefficient: float) -> AbstractContextManager[Any]:
        added = (coefficient * job["vector"]).to(self.dtype)
        addition = pyvene.AdditionIntervention(embed_dim=len(added), source_representation=added)
        place = f"model.layers[{job['layer']}].output"
        model = pyvene.IntervenableModel([{"component": place, "intervention": addition}], model=self.model)
        return nullcontext(model)

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

    def last_logits(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(batch | ONCE)[1].logits[:, -1]

    def written(self, model: Any, batch: dict[str, torch.Tensor], **settings: Any) -> torch.Tensor:
        return model.generate(batch, intervene_on_prompt=True, **settings)[1]


if __name__ == "__main__":
    serve(Pyvene)
