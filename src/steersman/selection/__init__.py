"""Selection: where to steer and how strongly, on validation data; what is measured is passed in."""

from steersman.selection.layer import Effect, LayerChoice, choose_layer, eligible_layers
from steersman.selection.strength import Strength, StrengthChoice, choose_strength

__all__ = ["Effect", "LayerChoice", "Strength", "StrengthChoice", "choose_layer", "choose_strength", "eligible_layers"]
