"""Which layer: by what steering there does, not by how long the vector is (norms grow with depth in every model)."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.errors import InputError


@dataclass(frozen=True)
class Effect:
    """What adding a direction at one layer did on validation data.

    Args:
        layer: 0-based decoder block.
        target: change of the measure on the items that should move, in its unit.
        side: change of the same measure on the items that should stay, in the same unit.
    """

    layer: int
    target: float
    side: float


@dataclass(frozen=True)
class LayerChoice:
    """The layers in order of merit, and why.

    Args:
        ranked: best first, eligible layers only.
        reason: the rule and the figures, in words.
    """

    ranked: tuple[int, ...]
    reason: str

    @property
    def best(self) -> int:
        """The layer of first choice."""
        return self.ranked[0]


def eligible_layers(depth: int, low: float, high: float, stride: int = 1) -> list[int]:
    """Return the decoder blocks between two depths.

    Args:
        depth: number of blocks.
        low: least share of the depth, 0 to 1.
        high: share of the depth from which on layers are left out, 0 to 1. Arditi et al. (2024) leave out the last
            fifth: a direction there acts on the output tokens, not on what the model decides.
        stride: take every so-manieth layer, at least 1.

    Raises:
        InputError: when none is left.
    """
    layers = [layer for layer in range(depth) if low * depth <= layer < int(high * depth)][::stride]
    if not layers:
        raise InputError(f"expected at least one layer between depths {low} and {high} of {depth} layers, got none")
    return layers


def choose_layer(effects: Sequence[Effect]) -> LayerChoice:
    """Return the layers by causal effect: the largest effect where it is wanted; of equal ones the smaller side effect.

    Args:
        effects: one per eligible layer.

    Raises:
        InputError: for none.

    It does not weigh the side effect: that is for the choice of strength, which keeps a budget. Source: the causal
    selection of Arditi et al. (2024), section 2.3 and appendix C, by their `induce` score.
    """
    if not effects:
        raise InputError("expected the effect of at least one layer, got none")
    ranked = sorted(effects, key=lambda effect: (-effect.target, effect.side, effect.layer))
    best = ranked[0]
    reason = (
        f"layer {best.layer}: largest causal effect on validation data, {best.target:+.2f} where it should act and "
        f"{best.side:+.2f} where it should not, among {len(effects)} layers"
    )
    return LayerChoice(tuple(effect.layer for effect in ranked), reason)
