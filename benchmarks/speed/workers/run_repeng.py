"""repeng: its `batched_get_hiddens` in its default batches of 32 to record, its `ControlModel` to steer, in 16s."""

import contextlib
import io
from typing import Any

import torch
from common import Looped, recorded, serve
from repeng import ControlModel, ControlVector
from repeng.extract import batched_get_hiddens

RECORDED_AT_ONCE = 32
"""Its default in `ControlVector.train`."""


class Repeng(Looped):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.control: ControlModel | None = None

    def prepare(self, job: dict[str, Any]) -> None:
        """Wrap the block to be steered, or unwrap it: its recording takes the model as it was."""
        if self.control is not None:
            self.control.unwrap()
            self.control = None
        if job["work"] != "record":
            self.control = ControlModel(self.model, [job["layer"]])

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        layers = list(range(self.model.config.num_hidden_layers))
        with contextlib.redirect_stderr(io.StringIO()):
            found = batched_get_hiddens(self.model, self.tokenizer, job["texts"], layers, RECORDED_AT_ONCE)
        read = self.tokenizer(job["texts"])["input_ids"] if job.get("full") else None
        values = torch.stack([torch.from_numpy(found[layer]) for layer in layers])
        return recorded(values, sum(map(len, job["tokens"])), job, read)

    def steered(self, job: dict[str, Any], coefficient: float) -> contextlib.AbstractContextManager[Any]:
        vector = ControlVector(self.model.config.model_type, {job["layer"]: job["vector"].numpy()})
        self.control.set_control(vector, coefficient)
        return contextlib.nullcontext(self.control)


if __name__ == "__main__":
    serve(Repeng)
