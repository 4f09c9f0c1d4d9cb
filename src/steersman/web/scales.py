"""What is measured once for a model, so that numbers on the page mean something: norms, and what is ordinary to it.

A projection alone says little: where zero lies and how far is far depends on model, layer and vector. So colours count
standard deviations from what the model's own unsteered answers read, and a gate opens above what ordinary prompts read.
"""

import threading
from dataclasses import dataclass, field
from statistics import mean, stdev

from steersman.direction import Direction
from steersman.gates import Gate
from steersman.maths.geometry import unit
from steersman.model.encode import prompt_tokens, text_tokens
from steersman.model.generate import Sampling
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.prompts import Example, passages, prompt_set
from steersman.reading import Reader
from steersman.web.following import Follower
from steersman.where import Site, Span

TEXTS = 8
"""Ordinary passages."""

EXCERPT = 200
"""Characters of each."""

ANSWERED, WORDS = 8, 28
"""Ordinary prompts whose answers make a scale, and tokens of each."""

ASKED = 16
"""Ordinary prompts for a gate."""

ABOVE = 1.0
"""Standard deviations above ordinary prompts from which on a gate fires."""


@dataclass(frozen=True)
class Scale:
    """What the model's own unsteered answers read along a direction.

    Args:
        middle: mean projection of its tokens.
        spread: their standard deviation, above 0.
    """

    middle: float
    spread: float

    def place(self, projection: float) -> float:
        """Return how many standard deviations a projection lies from an ordinary answer's."""
        return (projection - self.middle) / self.spread


@dataclass(eq=False)
class Scales:
    """Measures of one model, each taken when first asked for.

    Args:
        model: unsteered in the thread that asks.
    """

    model: Model
    _norms: dict[int, float] = field(default_factory=dict[int, float])
    _scales: dict[str, Scale] = field(default_factory=dict[str, Scale])
    _gates: dict[str, Gate] = field(default_factory=dict[str, Gate])
    _written: list[tuple[list[int], list[int]]] = field(default_factory=list[tuple[list[int], list[int]]])
    _once: threading.Lock = field(default_factory=threading.Lock)

    def norm(self, layer: int) -> float:
        """Return the mean residual norm behind a layer, over ordinary prose."""
        if not self._norms:
            sites = [Site(number) for number in range(self.model.depth)]
            reader = Reader(self.model, Span.parse("all"), sites)
            reader.matrix([Example("", text) for text in _texts()])
            self._norms = {site.layer: float(value) for site, value in reader.means.items()}
        return self._norms[layer]

    def scale(self, direction: Direction) -> Scale:
        """Return what ordinary answers read along a direction with one site."""
        key = Plan(direction).digest()
        if key not in self._scales:
            found: list[float] = []
            for prompt, tokens in self._answers():
                read = Follower(self.model, prompt, direction).follow(tokens)
                found += [each.projection for each in read if each.projection is not None]
            self._scales[key] = Scale(mean(found), max(stdev(found), 1e-6))
        return self._scales[key]

    def _answers(self) -> list[tuple[list[int], list[int]]]:
        """Return the tokens of ordinary prompts and of the unsteered model's answers, written when first asked for."""
        with self._once:
            if not self._written:
                prompts = [item.prompt for item in prompt_set("ordinary", split=None)[:ANSWERED]]
                sampling = Sampling(WORDS, repetition_penalty=1.1)
                made = self.model.complete(prompts, [Plan()] * len(prompts), sampling)
                rows = zip(prompts, made, strict=True)
                self._written = [(prompt_tokens(self.model, prompt), list(each.tokens)) for prompt, each in rows]
                # A model that ends every answer at once still reads something: ordinary prose.
                if sum(len(tokens) for _, tokens in self._written) < len(prompts):
                    texts = [text_tokens(self.model, text) for text in _texts()]
                    self._written = [(tokens[:1], tokens[1:]) for tokens in texts]
        return self._written

    def gate(self, direction: Direction) -> Gate:
        """Return a gate that fires where a prompt's end reads more like the direction than ordinary prompts do."""
        key = Plan(direction).digest()
        if key not in self._gates:
            (site,) = direction.sites
            found: list[float] = []
            for item in prompt_set("ordinary", split=None)[:ASKED]:
                tokens = prompt_tokens(self.model, item.prompt)
                if len(tokens) > 1:
                    (last,) = Follower(self.model, tokens[:-1], direction).follow(tokens[-1:])
                    found.append(last.projection or 0.0)
            threshold = mean(found) + ABOVE * stdev(found)
            self._gates[key] = Gate(site, unit(direction.vectors[site].float()), threshold)
        return self._gates[key]


def _texts() -> list[str]:
    return [item.text[:EXCERPT] for item in passages("prose", split="validation")[:TEXTS]]
