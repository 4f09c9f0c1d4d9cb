"""Shape names used in annotations; checked by jaxtyping under pytest.

`batch` rows, `seq` positions of the forward pass at hand, `d` model width, `n` examples, `vocab` tokens.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Vector = Float[Tensor, "d"]
Rows = Float[Tensor, "n d"]
Hidden = Float[Tensor, "batch seq d"]
Mask = Bool[Tensor, "batch seq"]
Positions = Int[Tensor, "batch seq"]
Tokens = Int[Tensor, "batch seq"]

__all__ = ["Bool", "Float", "Hidden", "Int", "Mask", "Positions", "Rows", "Tensor", "Tokens", "Vector"]
