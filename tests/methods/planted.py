"""Random activations with a known direction in them."""

import torch

from steersman.activations import Activations
from steersman.where import Site
from tiny import WIDTH, origin

SITES = (Site(0), Site(3))
AXES = torch.eye(WIDTH)
"""Orthogonal directions to plant things along."""


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activations(positive, negative, paired=True):
    """The same rows at two sites."""
    sides = [dict.fromkeys(SITES, side.float()) for side in (positive, negative)]
    return Activations(*sides, dict.fromkeys(SITES, 5.0), origin(n=len(positive)), paired)


def planted(strength=3.0, seed=0, n=120, concept=0, topic=3.0, spread=0.0):
    """Pairs that share a topic and differ by `strength` along an axis, on average; by pair, `spread` about it."""
    topics = topic * draw(seed, n, WIDTH)
    amount = (strength + spread * draw(seed + 1, n, 1)) / 2 * AXES[concept]
    return activations(topics + amount + draw(seed + 2, n, WIDTH) / 2, topics - amount + draw(seed + 3, n, WIDTH) / 2)


def corpora(strength=3.0, seed=0, n=150, m=90):
    """Two corpora of unlike size that differ along the first axis."""
    shift = strength / 2 * AXES[0]
    return activations(draw(seed, n, WIDTH) + shift, draw(seed + 1, m, WIDTH) - shift, paired=False)
