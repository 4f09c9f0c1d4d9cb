"""The least that a work can take on this machine: its arithmetic at the measured rate of the model's own matrices.

Counted are the matrix products of whole blocks and of the head, and attention's products at the same rate: no padding,
no softmax, no norm, no memory traffic. What comes before the steered block is counted once for all coefficients.
Prompts are not taken to share anything.
"""

from typing import Any

from material import Material
from team import RequestError, Team
from works import Result

ROWS = 2048
"""Tokens of the product whose rate is measured, as many as in a batch of 16 to 32 prompts."""


def measure(team: Team, material: Material, result: Result, coefficients: int) -> None:
    """Add the floor of `record` or `score0` to its result, where steersman's median is there to be compared."""
    if "steersman" not in result.answers:
        return
    request = {"work": "floor", "file": str(material.files[result.work]), "rows": ROWS}
    try:
        rate = team.workers["steersman"].ask(request)
    except RequestError as reason:
        result.extra["floor"] = {"unmeasured": str(reason)}
        return
    config, lengths = material.config, [len(row) for row in material.tokens[result.work]]
    depth = config.num_hidden_layers
    once, again = (depth, 0) if result.work == "record" else (material.layer + 1, depth - material.layer - 1)
    passes = once + again * coefficients
    readings = 0 if result.work == "record" else coefficients * len(lengths)
    seconds = sum(lengths) * rate["block"] * passes + readings * rate["head"]
    seconds += attention(config, lengths) * passes / (rate["gflop_per_second"] * 1e9)
    result.extra["floor"] = {
        "seconds": seconds,
        "times": result.median("steersman") / seconds,
        "gflop_per_second": rate["gflop_per_second"],
        "tokens": sum(lengths),
        "block_passes": passes,
    }


def attention(config: Any, lengths: list[int]) -> float:
    """Return the floating-point operations of one block's attention: every token with itself and those before it."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = sum(length * (length + 1) / 2 for length in lengths)
    return 4 * pairs * head * config.num_attention_heads
