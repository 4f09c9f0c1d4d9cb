"""What a direction is made of, in figures: how long, how stable, how separate, how alike, and which words it writes."""

from steersman.inspection.figures import (
    Comparison,
    Cosines,
    Inspection,
    SiteFigures,
    compare,
    inspect_direction,
    layer_cosines,
)
from steersman.inspection.lens import Lens, LensTokens, find_lens, lens_tokens

__all__ = [
    "Comparison",
    "Cosines",
    "Inspection",
    "Lens",
    "LensTokens",
    "SiteFigures",
    "compare",
    "find_lens",
    "inspect_direction",
    "layer_cosines",
    "lens_tokens",
]
