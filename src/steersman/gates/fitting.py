"""Thresholds fitted on labelled prompts, for a stated false-positive rate."""

from dataclasses import dataclass, replace

import torch

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.gates.gate import Gate, Measure, When
from steersman.maths.geometry import auroc
from steersman.maths.statistics import Estimate, wilson
from steersman.shapes import Float, Tensor


@dataclass(frozen=True)
class GateRates:
    """How often a gate fires on labelled texts.

    Args:
        true_positive: share of the positive texts on which it fires, with its 95 % interval and n.
        false_positive: the same for the negative ones.
        auroc: of the readings, 0 to 1; 0.5 tells nothing apart.
    """

    true_positive: Estimate
    false_positive: Estimate
    auroc: float


@dataclass(frozen=True)
class GateFit:
    """A gate and how it did on the texts it was fitted on; measure it on others with `gate_rates`.

    Args:
        gate: the gate.
        rates: on the fitting texts.
        status: the rule and the figures, in words.
    """

    gate: Gate
    rates: GateRates
    status: str


def fit_gate(
    direction: Direction,
    activations: Activations,
    false_positive_rate: float = 0.05,
    *,
    when: When = "prompt",
    measure: Measure = "projection",
    bias: float = 0.0,
) -> GateFit:
    """Return the gate with the lowest threshold that fires on no more than the stated share of negative texts.

    Args:
        direction: with one site, at which the gate reads: of any method; a probe's vector goes with `measure="probe"`
            and its bias.
        activations: of labelled texts at that site: positives on which it should fire, negatives on which not. Read at
            the last token for a gate that decides by prompt. Take texts that the direction was not fitted on: on its
            own ones it tells the two kinds apart better than it will again.
        false_positive_rate: 0 to 1 (left out); on the fitting texts. The rate on others differs by chance: with m
            negatives it is known to about `1 / sqrt(m)`.
        when: `prompt` or `token`.
        measure: `projection`, `cosine` or `probe`.
        bias: of the probe.

    Raises:
        InputError: for a direction with several sites, activations that lack its site, or a rate out of range.
    """
    if len(direction.sites) != 1:
        raise InputError(
            f"expected a direction with one site for a gate, got {len(direction.sites)}; take one with .at()"
        )
    if not 0 <= false_positive_rate < 1:
        raise InputError(f"expected a false-positive rate from 0 to 1, 1 left out, got {false_positive_rate}")
    (site,) = direction.sites
    gate = Gate(site, direction.vectors[site].float(), 0.0, when, measure, bias)
    positive, negative = _readings(gate, activations)
    threshold = _threshold(positive, negative, int(false_positive_rate * len(negative)))
    gate = replace(gate, threshold=threshold)
    rates = gate_rates(gate, activations)
    caught, wrong = rates.true_positive, rates.false_positive
    status = (
        f"fires above {threshold:.4g} ({measure} at {site}, by {when}): on {caught.value:.0%} of {caught.n} positive "
        f"and {wrong.value:.0%} of {wrong.n} negative texts it was fitted on, "
        f"at most {false_positive_rate:.0%} asked for"
    )
    return GateFit(gate, rates, status)


def gate_rates(gate: Gate, activations: Activations) -> GateRates:
    """Return how often the gate fires on labelled texts, best ones that it was not fitted on.

    Raises:
        InputError: for activations that lack the gate's site.
    """
    positive, negative = _readings(gate, activations)
    fired = [(readings > gate.threshold) != gate.below for readings in (positive, negative)]
    caught, wrong = (wilson(int(each.sum()), len(each)) for each in fired)
    area = auroc(positive.double(), negative.double())
    return GateRates(caught, wrong, 1 - area if gate.below else area)


def _threshold(positive: Float[Tensor, " p"], negative: Float[Tensor, " m"], allowed: int) -> float:
    """Return the lowest threshold above which no more than so many negative readings lie, ties included."""
    # The largest reading that must not fire; the threshold stands half-way to the next, out of the reach of rounding.
    highest = float(negative.sort(descending=True).values[allowed])
    both = torch.cat([positive, negative])
    above = both[both > highest]
    if not len(above):
        return highest + 1e-3 * float(both.std(unbiased=False))
    lowest = float(above.min())
    # As the float32 number that readings are compared with; between neighbours there is none.
    middle = float(torch.tensor((highest + lowest) / 2, dtype=torch.float32))
    return middle if middle < lowest else highest


def _readings(gate: Gate, activations: Activations) -> tuple[Float[Tensor, " p"], Float[Tensor, " m"]]:
    if gate.site not in activations.positive:
        held = ", ".join(map(str, activations.sites))
        raise InputError(f"expected activations at {gate.site}, where the gate reads, got {held}; record that site")
    positive = gate.read(activations.positive[gate.site])
    negative = gate.read(activations.negative[gate.site])
    assert torch.isfinite(positive).all()
    assert torch.isfinite(negative).all()
    return positive, negative
