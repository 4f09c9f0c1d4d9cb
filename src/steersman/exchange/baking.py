"""Permanent forms: a plan written into a model's weights, as an ordinary Hugging Face folder that nothing has to steer.

What writes to the residual stream ends in a linear layer, `W x + b`. An addition of v to what it writes is the bias
`b + v`; an ablation, the same linear map for every token, is `W - f r (r . W)` and `b - f r (r . b)`. So every step at
a writer (`attn_out`, `mlp_out`, the embedding for `resid_pre.0`) goes into that writer's weights, an addition at
`resid_post` or a later `resid_pre` into the bias of the MLP before it, and an ablation of the whole stream into all
writers at once: what nobody writes does not have to be removed later.

Whether that is exact depends on the architecture (a norm behind the writer, a scaled residual), so it is measured: the
folder is loaded again and its logits are compared with those of the steered model; what differs is removed.

Reference: Arditi et al. (2024), "Refusal in language models is mediated by a single direction": weight
orthogonalisation, and activation addition as a bias.
"""

import copy
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steersman.edits import Ablate, Add
from steersman.errors import FileError, InputError
from steersman.exchange.folder import compare, save_folder
from steersman.exchange.writers import finals, with_biases
from steersman.files import said_plainly, write_json
from steersman.maths.geometry import cosine
from steersman.model.handle import Handle
from steersman.plan import PARALLEL, Plan, Step
from steersman.version import VERSION
from steersman.where import Site, Span

RECORD = "steersman-baked.json"
"""In every folder that was baked: from which model, with which plan; only a folder that holds it is ever replaced."""

Work = list[tuple[Tensor, float | None]]
"""What is done to an output, in order: a vector `[d]`, and the fraction of it that is taken out; added where None."""


@dataclass(frozen=True)
class Baked:
    """A folder with the plan in its weights.

    Args:
        folder: what `load` and transformers read.
        difference: largest difference of a logit between the folder's model and the steered one, on the check's rows.
        effect: largest difference that steering makes to a logit there.
        tolerance: largest difference that was allowed.
        changed: names of the weights that differ from the model's; a new bias that is zero does not.
        words: the same in a sentence.
    """

    folder: Path
    difference: float
    effect: float
    tolerance: float
    changed: tuple[str, ...]
    words: str


def bake(
    model: Handle, plan: Plan, folder: str | Path, *, force: bool = False, tolerance: float | None = None
) -> Baked:
    """Return the folder that holds the model with the plan in its weights; the model itself stays as it is.

    Args:
        model: the model; best loaded in float32, since every changed weight is rounded to its type.
        plan: additions, and ablations of a writer's output or of the whole stream (`direction.everywhere()` with
            coefficient 1), all over the span `all`, without gates.
        folder: where to; a new one.
        force: replace a folder that was baked before.
        tolerance: largest difference of a logit from the steered model; where not given, 1e-4 of the largest logit, 16
            rounding steps of a narrower type.

    Raises:
        InputError: for a step that no weight can hold, named; for a model whose architecture does not allow it, which
            the comparison of logits finds out as well.
        FileError: when the folder exists and may not be replaced, or cannot be written.
    """
    target = check_folder(folder, force=force)
    model.check(plan)
    _whole(model)
    steps = [step for step in plan if step.coefficient]
    config = copy.deepcopy(model.hf.config)
    state, changed, new = _weights(model, steps, config)
    with said_plainly(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with said_plainly(target):
            save_folder(model, config, state, made)
        difference, effect, allowed = compare(model, plan, made, tolerance)
        record = {"version": VERSION, "model": model.name, "revision": model.revision, "steps": plan.describe()}
        record["ranges"] = [each.plain() for step in plan for each in step.ranges]
        write_json(made / RECORD, record | {"difference": difference, "effect": effect, "tolerance": allowed})
        with said_plainly(target):
            made.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    beside = f", {new} biases of zero new beside them" if new else ""
    words = (
        f"{len(changed)} weight{'' if len(changed) == 1 else 's'} changed{beside}; logits within {difference:.1e} of "
        f"the steered model's (allowed {allowed:.1e}), which steering moves by {effect:.2g}"
    )
    return Baked(target, difference, effect, allowed, tuple(sorted(changed)), words)


def check_folder(folder: str | Path, *, force: bool = False) -> Path:
    """Return the folder a model may be baked to; ask before the work whose result goes there.

    Args:
        folder: a new one, an empty one, or with `force` one that was baked before.
        force: such a folder may be replaced.

    Raises:
        FileError: for anything else.
    """
    target = Path(folder).expanduser()
    with said_plainly(target):
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken and not (force and (target / RECORD).is_file()):
        advice = "--force to replace it" if (target / RECORD).is_file() else "it is not one that was baked"
        raise FileError(f"{target} exists already; give another name ({advice})")
    return target


def _whole(model: Handle) -> None:
    for name, weight in model.hf.named_parameters():
        if weight.device.type == "meta" or not weight.is_floating_point():
            raise InputError(
                f"expected plain weights in memory, got {name} as {weight.dtype} on {weight.device}; load the model "
                "unquantised and whole"
            )


# Which step goes where


def _weights(model: Handle, steps: list[Step], config: Any) -> tuple[dict[str, Tensor], set[str], int]:
    """Return the folder's weights, the names of those that differ, and how many new ones are zero.

    Sets the switches of `config` that it takes.
    """
    embedding, writers = _plan_work(model, steps)
    found = finals(model, {key: module for key, (module, _) in writers.items()})
    biased = [found[key] for key, (_, work) in writers.items() if any(f is None for _, f in work)]
    gained = with_biases(model, config, biased)
    state = {name: tensor.detach().to("cpu") for name, tensor in model.hf.state_dict().items()}
    state |= {name: zeros.to(model.dtype) for name, zeros in gained.items()}
    changed: set[str] = set()
    for key, (_, work) in writers.items():
        final = found[key]
        weight, bias = f"{final.name}.weight", f"{final.name}.bias"
        state[weight], kept = _applied(state[weight], work, final.rows)
        changed |= set() if kept else {weight}
        if bias in state:
            state[bias], _ = _applied(state[bias], work, True, additions=True)
            changed.add(bias)
    if embedding:
        changed |= _embeddings(model, config, state, embedding)
    return state, changed, len(gained.keys() - changed)


def _plan_work(model: Handle, steps: list[Step]) -> tuple[Work, dict[str, tuple[nn.Module, Work]]]:
    """Return what is done to the embedding, and to every writer by name, in the order in which the sites come."""
    embedding: Work = []
    writers: dict[str, tuple[nn.Module, Work]] = {}
    for step in sorted(steps, key=lambda step: step.site):
        _bakeable(step)
        vector = step.vector.to("cpu", torch.float64)
        site = step.site
        if isinstance(step.edit, Ablate):
            if site.point in ("resid_pre", "resid_post") and site != Site(0, "resid_pre"):
                _redundant(step, steps)
                continue
            piece: tuple[Tensor, float | None] = (vector / vector.norm(), step.coefficient)
        else:
            piece = (step.coefficient * vector, None)
        if site == Site(0, "resid_pre"):
            embedding.append(piece)
            continue
        layer = site.layer - 1 if site.point == "resid_pre" else site.layer
        point = "attn_out" if site.point == "attn_out" else "mlp_out"
        part = model.parts[layer]
        if site.point in ("resid_pre", "resid_post"):
            piece = (piece[0] / part.factor, None)  # the block multiplies what its MLP writes
        place = model.place(Site(layer, point))
        writers.setdefault(f"{point}.{layer}", (place.module, []))[1].append(piece)
    return embedding, writers


def _bakeable(step: Step) -> None:
    held = "weights act alike on every token of every text"
    if not isinstance(step.edit, (Add, Ablate)):
        raise InputError(f"expected edits 'add' and 'ablate' to bake, got {step.edit.name!r} at {step.site}; {held}")
    if step.span != Span("all"):
        raise InputError(f"expected the span 'all' to bake, got '{step.span}' at {step.site}; {held}")
    if step.gate is not None:
        raise InputError(f"expected steps without gates to bake, got one gated at {step.gate.site}; {held}")
    if step.site.point == "head":
        raise InputError(f"expected a site of the residual stream or a writer to bake, got {step.site}")


def _redundant(step: Step, steps: list[Step]) -> None:
    """Return when an ablation of the stream finds nothing to remove, since all writers before it have been ablated.

    Raises:
        InputError: when something is left.
    """
    last = step.site.layer - (step.site.point == "resid_pre")
    needed = [Site(0, "resid_pre")]
    needed += [Site(layer, point) for layer in range(last + 1) for point in ("attn_out", "mlp_out")]
    done = {
        other.site
        for other in steps
        if isinstance(other.edit, Ablate)
        and other.coefficient == 1
        and abs(cosine(other.vector, step.vector)) > PARALLEL
    }
    left = [site for site in needed if site not in done]
    if left or step.coefficient != 1:
        reason = f"{left[0]} is not ablated" if left else f"a fraction of {step.coefficient:g} is taken again and again"
        raise InputError(
            f"expected an ablation of the whole stream to bake at {step.site}, got one where {reason}; use "
            "direction.everywhere() with coefficient 1, or ablate writers alone (attn_out, mlp_out, resid_pre.0)"
        )


# The arithmetic


def _applied(weight: Tensor, work: Work, rows: bool, additions: bool = False) -> tuple[Tensor, bool]:
    """Return a weight (or, with additions, a bias) after the work, and whether it is as it was.

    Args:
        weight: `[d, input]`, or `[input, d]` where `rows` is false; a bias `[d]`.
        work: vectors `[d]` and fractions; an addition where the fraction is None.
        rows: whether the stream is the first dimension.
        additions: whether they count: to a bias they do, a weight they leave.
    """
    wide = weight.to(torch.float64) if rows else weight.to(torch.float64).T
    kept = True
    for vector, fraction in work:
        if fraction is not None:
            along = vector @ wide
            wide = wide - fraction * (torch.outer(vector, along) if wide.ndim == 2 else vector * along)
            kept = False
        elif additions:
            wide = wide + (vector[:, None] if wide.ndim == 2 else vector)
            kept = False
    return (weight if kept else (wide if rows else wide.T).to(weight.dtype).contiguous()), kept


def _embeddings(model: Handle, config: Any, state: dict[str, Tensor], work: Work) -> set[str]:
    """Change every embedding of the stream's width; untie the head, which has to stay."""
    names = {module: name for name, module in model.hf.named_modules()}
    tokens = model.hf.get_input_embeddings()
    blocks = set(model.layout.blocks.modules())
    tables = [m for m in names if isinstance(m, nn.Embedding) and m not in blocks and m.embedding_dim == model.width]
    changed: set[str] = set()
    for table in tables:
        name = f"{names[table]}.weight"
        # Added once, to the tokens; taken out of positions as well.
        state[name], kept = _applied(state[name], work, False, additions=table is tokens)
        changed |= set() if kept else {name}
    head = model.hf.get_output_embeddings()
    if head is not None and head.weight is tokens.weight:
        config.tie_word_embeddings = False
        state[f"{names[head]}.weight"] = head.weight.detach().to("cpu").clone()
    return changed
