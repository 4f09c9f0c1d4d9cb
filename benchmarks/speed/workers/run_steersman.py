"""steersman as its users call it: texts in, one row for each prompt and coefficient, batch sizes left to it."""

from typing import Any

import torch
from common import Contender, recorded, serve
from rates import matrix_seconds

import steersman as sm
from steersman.activations import Origin
from steersman.model.encode import completion_tokens, prompt_tokens
from steersman.model.generate import Sampling

TINY = 1e-3
"""Coefficients of the overhead runs, fractions of the residual norm: the texts stay as long as unsteered ones."""


class Steersman(Contender):
    def __init__(self, folder: str, dtype: torch.dtype) -> None:
        self.model = sm.load(folder, dtype=str(dtype).removeprefix("torch."), device="cpu")

    def direction(self, job: dict[str, Any], layers: list[int]) -> sm.Direction:
        model, sites = self.model, [sm.Site(layer) for layer in layers]
        origin = Origin(model.name, model.revision, model.template, model.width, model.depth, "last", "", 1)
        return sm.Direction(
            dict.fromkeys(sites, job["vector"]), dict.fromkeys(sites, float(job["norm"])), origin, "given"
        )

    def plans(self, job: dict[str, Any]) -> list[sm.Plan]:
        layers = job.get("layers", [job["layer"]])
        # Spread over several layers the vector is divided among them.
        plan = sm.Plan(self.direction(job, layers), coefficient=1 / len(layers), unit="raw")
        return [plan.scaled(coefficient) for coefficient in job["coefficients"]]

    def record(self, job: dict[str, Any]) -> dict[str, Any]:
        examples = [sm.Example(prompt) for prompt in job["prompts"]]
        half = len(examples) // 2
        found = sm.record_texts(self.model, examples[:half], examples[half:], span="last")
        values = torch.stack([torch.cat([found.positive[site], found.negative[site]]) for site in found.sites])
        read = [prompt_tokens(self.model, prompt) for prompt in job["prompts"]] if job.get("full") else None
        return recorded(values, sum(map(len, job["tokens"])), job, read)

    def score(self, job: dict[str, Any]) -> dict[str, Any]:
        prompts, plans, count = job["prompts"], self.plans(job), len(job["prompts"])
        rows = self.model.score_options(
            prompts * len(plans),
            [job["options"]] * (count * len(plans)),
            [plan for plan in plans for _ in prompts],
            chat=False,
        )
        letters = [[option.total for option in row] for row in rows]
        values = [letters[start : start + count] for start in range(0, len(letters), count)]
        return {"values": values, "tokens": sum(map(len, job["tokens"])) * len(plans)}

    def generate(self, job: dict[str, Any]) -> dict[str, Any]:
        plans = self.plans(job)
        texts = self.model.generate(
            job["prompts"] * len(plans),
            [plan for plan in plans for _ in job["prompts"]],
            max_new_tokens=job["new_tokens"],
        )
        return {"texts": texts, "tokens": sum(self.length(text) for text in texts)}

    def prepare(self, job: dict[str, Any]) -> None:
        if job["work"].startswith("overhead"):
            direction = self.direction(job, [job["layer"]])
            count = len(job["prompts"])
            several = [sm.Plan(direction.random(row), coefficient=TINY * (1 + row / count)) for row in range(count)]
            self.chosen = {"none": None, "one": sm.Plan(direction, coefficient=TINY), "many": several}[job["plan"]]

    def overhead_score(self, job: dict[str, Any]) -> dict[str, Any]:
        count = len(job["prompts"])
        # Plain texts: a chat template would be read once for rows of one plan, and its reading is not what is timed.
        scores = self.model.score(job["prompts"], job["answers"], self.chosen, batch_size=count, chat=False)
        return {"tokens": sum(len(score.tokens) for score in scores)}

    def overhead_generate(self, job: dict[str, Any]) -> dict[str, Any]:
        plans = self.chosen or sm.Plan()
        each = [plans] * len(job["prompts"]) if isinstance(plans, sm.Plan) else plans
        made = self.model.complete(job["prompts"], each, Sampling(job["new_tokens"]), chat=False)
        return {"tokens": sum(len(one.tokens) for one in made)}

    def floor(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the seconds that one token's matrix products take at the machine's own rate, by kind of matrix."""
        return matrix_seconds(self.model.hf.config, self.model.dtype, job["rows"])

    def length(self, text: str) -> int:
        return len(completion_tokens(self.model, text)) if text else 0


if __name__ == "__main__":
    serve(Steersman)
