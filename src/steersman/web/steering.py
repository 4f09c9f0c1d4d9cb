"""Sliders to one plan: what steers together, what of it lies beyond what is recommended, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.gates import Gate
from steersman.plan import Plan
from steersman.range import ROUNDING, Slider
from steersman.web.shelf import Entry, Norm, Setting, placed, plan_of, setting_of, slider_of


@dataclass(frozen=True)
class Steering:
    """What the sliders come to.

    Args:
        plan: all of it.
        words: in one line, such as `cheerful +0.31, formal −0.20`.
        warnings: a sentence for each slider beyond its range.
        gates: by the gate's site, the entry that it lets act.
    """

    plan: Plan
    words: str
    warnings: list[str]
    gates: Mapping[str, str]


def steering_of(
    shelf: Sequence[Entry],
    settings: Mapping[str, Setting],
    values: Sequence[float],
    norm: Norm,
    gates: Mapping[str, Gate] | None = None,
) -> Steering:
    """Return what steers under some sliders.

    Args:
        shelf: the entries, in the sliders' order.
        settings: by the entry's name; those that are not there are as found.
        values: of the sliders; missing ones are 0.
        norm: mean residual norm by layer.
        gates: by the entry's name.
    """
    plan, words, warnings, gated = Plan(), list[str](), list[str](), dict[str, str]()
    for entry, value in zip(shelf, values, strict=False):
        if not value:
            continue
        setting = settings.get(entry.name) or setting_of(entry)
        gate = (gates or {}).get(entry.name) if setting.gated else None
        own = plan_of(entry, setting, value, norm, gate)
        plan += own
        words.append(f"{entry.name} {signed(value)}")
        gated |= {str(step.gate.site): entry.name for step in own if step.gate is not None}
        if warning := beyond(entry, setting, value, norm):
            warnings.append(warning)
    return Steering(plan, ", ".join(words), warnings, gated)


def beyond(entry: Entry, setting: Setting, value: float, norm: Norm) -> str:
    """Return a sentence where a slider stands beyond its range; nothing where it does not."""
    slider = slider_of(entry, setting, norm)
    edge = slider.high if value > 0 else slider.low
    if abs(value) <= abs(edge) * (1 + ROUNDING):
        return ""
    begin = f"{entry.name} at {signed(value)} is beyond {signed(edge)}"
    if entry.direction is None:
        return f"{begin}: twice what was saved is as far as its slider means to go."
    sign = 1 if value > 0 else -1
    own = placed(entry.direction, setting.layer, norm)
    known = own.range_for(own.sites[0], sign, "norm", "add", setting.span)
    if known is None:
        return f"{begin}: nothing was measured there, and most text falls apart; expect nonsense."
    found = "its text stopped being coherent" if known.alarm is not None else "it was never tried any further"
    advice = f" Recommended is {signed(known.coefficient)}." if known.coefficient is not None else ""
    return f"{begin}, where {found}.{advice}"


def ends(slider: Slider, *, wider: float = 1.0) -> tuple[float, float]:
    """Return between what a slider's track goes, rounded outwards to its steps; a side that was 0 stays 0."""
    return -_step(-slider.low * wider), _step(slider.high * wider)


def signed(value: float | None) -> str:
    """Return a coefficient with its sign, as sliders show it."""
    return f"{value or 0:+.2f}".replace("-", "−")


def _step(size: float) -> float:
    # A hundredth below the limit, so that the end of the track is never warned of.
    return int(size * 100 + 1e-6) / 100
