"""Shuffled labels: what a method finds where there is nothing to find."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from steersman.activations import Activations, Recorded
from steersman.errors import InputError
from steersman.shapes import Bool, Float, Tensor
from steersman.where import Site


def shuffle_labels(activations: Recorded, seed: int) -> Activations:
    """Return the activations with their labels shuffled, so that a method fitted to them fits noise: a control.

    Of pairs, a random half have their two sides swapped (of an odd number, half of one more or one less). Of corpora,
    each side gives a random part of its texts for the other's, such that both new sides are mixed alike. A coin for
    every pair would be simpler and worse: where it swaps 11 of 30 pairs, the mean difference keeps a quarter of the
    true one, and scaled to the length of the original it would be the very direction that it is a control for.

    Args:
        activations: stored ones, of at least 2 pairs, or of corpora of at least 2 texts each.
        seed: of the draw; every site is shuffled alike.

    Raises:
        InputError: for moments, which hold no single text, or too few texts.
    """
    if not isinstance(activations, Activations):
        raise InputError("expected stored activations to shuffle, got moments, which hold no single text")
    first = activations.sites[0]
    n, m = len(activations.positive[first]), len(activations.negative[first])
    if min(n, m) < 2:
        raise InputError(f"expected at least 2 pairs, or texts a side, to shuffle the labels of, got {min(n, m)}")
    draw = torch.Generator().manual_seed(seed)
    if activations.paired:
        swapped = _chosen(n, n // 2 + n % 2 * int(torch.randint(2, (1,), generator=draw)), draw)
        positive = _mixed(activations.positive, activations.negative, swapped)
        negative = _mixed(activations.negative, activations.positive, swapped)
        return replace(activations, positive=positive, negative=negative)
    # Of n and m texts, the share m / (n + m) of the first and n / (n + m) of the second change sides: equally many.
    moving = min(max(1, round(n * m / (n + m))), n - 1, m - 1)
    leaving, coming = _chosen(n, moving, draw), _chosen(m, moving, draw)
    positive: dict[Site, Float[Tensor, "n _"]] = {}
    negative: dict[Site, Float[Tensor, "m _"]] = {}
    for site in activations.sites:
        one, other = activations.positive[site], activations.negative[site]
        positive[site] = torch.cat([one[~leaving], other[coming]])
        negative[site] = torch.cat([other[~coming], one[leaving]])
    return replace(activations, positive=positive, negative=negative)


def _chosen(n: int, count: int, draw: torch.Generator) -> Bool[Tensor, " n"]:
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n, generator=draw)[:count]] = True
    return chosen


def _mixed(
    kept: Mapping[Site, Float[Tensor, "n _"]], other: Mapping[Site, Float[Tensor, "n _"]], swapped: Bool[Tensor, " n"]
) -> dict[Site, Float[Tensor, "n _"]]:
    return {site: torch.where(swapped[:, None], other[site], rows) for site, rows in kept.items()}
