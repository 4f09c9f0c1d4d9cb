"""repeng: its `batched_get_hiddens` in its default batches of 32 to record, its `ControlModel` to steer, in 16s."""

import contextlib
import io
from typing import Any

import torch
from common import Contender, batches, cut, letters_of, load, recorded, serve
from repeng import ControlModel, ControlVector
from repeng.extract import batched_get_hiddens

RECORDED_AT_ONCE = 32
"""Its default in `ControlVector.train`."""


class Repeng(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model, self.tokenizer = load(folder, dtype)
        self.filler = self.tokenizer.pad_token_id
        self.control: ControlModel | None = None

    def prepare(self, job: dict[str, Any]) -> None:
        """Wrap the block to be steered, or unwrap it: its recording takes the model as it was."""
        if self.control is not None:
            self.control.unwrap()
            self.control = None
        if job["work"] != "record":
            self.control = ControlModel(self.model, [job["layer"]])
            self.vector = ControlVector(self.model.config.model_type, {job["layer"]: job["vector"].numpy()})

    @torch.inference_mode()
    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        layers = list(range(self.model.config.num_hidden_layers))
        with contextlib.redirect_stderr(io.StringIO()):
            found = batched_get_hiddens(self.model, self.tokenizer, job["texts"], layers, RECORDED_AT_ONCE)
        read = self.tokenizer(job["texts"])["input_ids"] if job.get("full") else None
        values = torch.stack([torch.from_numpy(found[layer]) for layer in layers])
        return recorded(values, sum(map(len, job["tokens"])), job, read)

    @torch.inference_mode()
    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        values = []
        for coefficient in job["coefficients"]:
            self.control.set_control(self.vector, coefficient)
            rows: list[list[float]] = []
            for batch in batches(job["tokens"], self.filler):
                rows += letters_of(
                    self.control(**batch, use_cache=False, logits_to_keep=1).logits[:, -1], job["letters"]
                )
            values.append(rows)
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(values)}

    @torch.inference_mode()
    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        written = []
        for coefficient in job["coefficients"]:
            self.control.set_control(self.vector, coefficient)
            for batch in batches(job["tokens"], self.filler):
                del batch["position_ids"]
                out = self.control.generate(
                    **batch, max_new_tokens=job["new_tokens"], do_sample=False, pad_token_id=self.filler
                )
                written += cut(out[:, batch["input_ids"].shape[1] :], set(job["stops"]))
        return {"written": written, "tokens": sum(map(len, written))}


if __name__ == "__main__":
    serve(Repeng)
