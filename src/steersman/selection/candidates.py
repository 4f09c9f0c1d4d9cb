"""What the causal rule is given: prompts of two kinds, mean differences at every token after the instruction.

Here prompts are read, at every site in one pass or under every plan in shared batches; what is made of it is decided in
`causal` and `site`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import InputError
from steersman.maths.geometry import RunningMean
from steersman.model.encode import forward_arguments, pad, prompt_tokens
from steersman.model.hooks import capturing, refuse_plans_by_row
from steersman.model.loaded import Model
from steersman.model.progress import Progress
from steersman.plan import Plan
from steersman.prompts import Example, content_hash
from steersman.recording import sites_of
from steersman.selection.openings import Odds
from steersman.where import Site

KL_EPSILON = 1e-6
"""Added to every probability within the logarithms of the KL by the authors' code."""

ROUNDING = 1e-9
"""Share of the residual norm below which a mean difference is rounding: the first block reads the same embeddings at a
template's tokens, whatever was asked."""

Notify = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Prompts:
    """Prompts of the two kinds, of training or of validation data.

    Args:
        harmful: what the model should refuse; in general, where the behaviour is there.
        harmless: what it should not; where it is absent.

    Raises:
        InputError: for none on a side.
    """

    harmful: Sequence[str]
    harmless: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse an empty side."""
        if not self.harmful or not self.harmless:
            raise InputError(
                f"expected prompts of both kinds, got {len(self.harmful)} harmful and {len(self.harmless)} harmless"
            )


@dataclass(frozen=True)
class Reading:
    """How prompts are read; none of it changes a result beyond rounding but the system prompt and the epsilon.

    Args:
        batch_size: rows at a time, at least 1; the rows of one batch carry different candidates.
        system: system prompt of all rows.
        kl_epsilon: `KL_EPSILON`, or 0 for the formula without it.
        notify: called with the number of rows read after each batch.

    Raises:
        InputError: for a batch size below 1 or a negative epsilon.
    """

    batch_size: int = 32
    system: str | None = None
    kl_epsilon: float = KL_EPSILON
    notify: Notify | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        if self.batch_size < 1 or not self.kl_epsilon >= 0:
            raise InputError(
                f"expected a batch size of at least 1 and an epsilon of at least 0, got {self.batch_size}, "
                f"{self.kl_epsilon}"
            )


USUAL = Reading()
"""How prompts are read where nobody says otherwise."""


def separated_prompts(model: Model, prompts: Prompts, odds: Odds, reading: Reading = USUAL) -> Prompts:
    """Return the prompts that the unsteered model separates: harmful with log-odds above 0, harmless with less.

    Raises:
        InputError: where none is left on a side.
    """
    kept: list[list[str]] = []

    def read(texts: list[str], plans: list[Plan]) -> list[float]:
        return odds.read(model, texts, plans, reading.system)

    for side, sign in ((prompts.harmful, 1), (prompts.harmless, -1)):
        (values,) = read_by_plan(model, side, [Plan()], reading, read)
        kept.append([text for text, value in zip(side, values, strict=True) if sign * value > 0])
    if not all(kept):
        raise InputError(
            f"expected prompts that the model separates by itself, got {len(kept[0])} of {len(prompts.harmful)} "
            f"harmful and {len(kept[1])} of {len(prompts.harmless)} harmless ones ({odds.words}); use all, or other "
            "log-odds"
        )
    return Prompts(*kept)


def mean_differences(
    model: Model,
    prompts: Prompts,
    *,
    positions: Sequence[int] | None = None,
    layers: Sequence[int | float] | None = None,
    reading: Reading = USUAL,
) -> tuple[dict[int, Direction], list[tuple[int, Site]]]:
    """Return the mean differences at some blocks' inputs, by token position, in one pass; and where there is none.

    Args:
        model: the model.
        prompts: the two kinds; the direction leads from harmless to harmful. Their counts may differ.
        positions: as in `causal_site`.
        layers: as in `causal_site`.
        reading: how prompts are read.

    Returns:
        A direction for every position, its vectors means over float64 sums, and the positions and sites at which the
        two means are equal or not finite, so that there is no direction.

    Raises:
        InputError: for positions or layers that are not there.
    """
    places = list(range(-max(1, model.suffix), 0)) if positions is None else sorted(set(positions))
    rows = [
        [prompt_tokens(model, text, reading.system) for text in side] for side in (prompts.harmful, prompts.harmless)
    ]
    shortest = min(len(row) for side in rows for row in side)
    if not places or max(places) >= 0 or min(places) < -shortest:
        raise InputError(f"expected positions from -{shortest} to -1, counted from the prompt's end, got {places[:10]}")
    sites = sites_of(model, layers, ("resid_pre",))
    norms = {site: RunningMean(1) for site in sites}
    harmful, harmless = (_means(model, side, places, sites, norms, reading) for side in rows)
    examples = [Example(text) for text in (*prompts.harmful, *prompts.harmless)]
    directions: dict[int, Direction] = {}
    absent: list[tuple[int, Site]] = []
    scales = {site: float(norm.mean) for site, norm in norms.items()}
    for index, place in enumerate(places):
        vectors: dict[Site, Tensor] = {}
        for site in sites:
            vector = harmful[site][index] - harmless[site][index]
            # Written so that what is not a number is absent too.
            if bool(vector.norm() > ROUNDING * scales[site]) and bool(torch.isfinite(vector.float()).all()):
                vectors[site] = vector.float()
            else:
                absent.append((place, site))
        if vectors:
            origin = Origin(
                model.name, model.revision, model.template, model.width, model.depth, f"positions({place})",
                content_hash(examples), min(len(side) for side in rows),
            )  # fmt: skip
            directions[place] = Direction(vectors, {site: scales[site] for site in vectors}, origin, "mean difference")
    return directions, absent


@torch.inference_mode()
def _means(
    model: Model,
    rows: Sequence[list[int]],
    places: Sequence[int],
    sites: Sequence[Site],
    norms: Mapping[Site, RunningMean],
    reading: Reading,
) -> dict[Site, Tensor]:
    """Return `{site: [places, d]}` float64 means over rows; `norms` takes in all tokens but each text's first."""
    sums = {site: torch.zeros(len(places), model.width, dtype=torch.float64) for site in sites}

    def take(site: Site, hidden: Tensor, progress: Progress) -> None:
        # Left padding: every row's end is the last column.
        sums[site].add_(hidden[:, places].cpu().double().sum(0))
        assert progress.positions is not None
        later = (progress.positions > 0).to(hidden.device)
        norms[site].add(hidden.float().norm(dim=-1)[later][:, None].cpu())

    refuse_plans_by_row(model, "recording")
    ordered = sorted(rows, key=len)
    for start in range(0, len(ordered), reading.batch_size):
        some = ordered[start : start + reading.batch_size]
        batch = pad(model, some, [len(row) for row in some])
        with capturing(model, list(sites), take, batch.prompt_lengths):
            model.layout.base(**forward_arguments(model, batch), use_cache=False)
        if reading.notify:
            reading.notify(len(some))
    return {site: total / len(rows) for site, total in sums.items()}


def read_by_plan(
    model: Model,
    prompts: Sequence[str],
    plans: Sequence[Plan],
    reading: Reading,
    read: Callable[[list[str], list[Plan]], list[T]],
) -> list[list[T]]:
    """Return what is read of every prompt under every plan, `[plans][prompts]`.

    The same prompt under different plans shares a batch, so that no row is padded: prompts are the outer loop, by
    length.
    """
    lengths = [len(prompt_tokens(model, text, reading.system)) for text in prompts]
    order = sorted(range(len(prompts)), key=lambda i: lengths[i])
    rows = [(i, k) for i in order for k in range(len(plans))]
    found: dict[tuple[int, int], T] = {}
    for start in range(0, len(rows), reading.batch_size):
        some = rows[start : start + reading.batch_size]
        chosen = [plans[k] for _, k in some]
        values = read([prompts[i] for i, _ in some], chosen[:1] if len(plans) == 1 else chosen)
        found |= dict(zip(some, values, strict=True))
        if reading.notify:
            reading.notify(len(some))
    return [[found[i, k] for i in range(len(prompts))] for k in range(len(plans))]
