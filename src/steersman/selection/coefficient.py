"""How strongly: a recommendation between onset and alarm, found by an adaptive search that counts its completions.

The curve so far decides what is tried next: growth until the rule's alarm rings, then cuts around alarm, onset and the
recommendation itself. All prompts and coefficients of a round are rows of one batch under different plans. Where
coherence ends and what to recommend, the rule says; what it never sees, such as an alarm that did not ring, is said as
such and never made up.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from steersman.direction import Direction
from steersman.edits import Ablate, Add, Edit
from steersman.engines import Engine
from steersman.errors import InputError
from steersman.maths.geometry import length
from steersman.maths.search import Landmarks, Reach, ask, rounds
from steersman.model.generate import Sampling
from steersman.model.handle import Handle
from steersman.plan import Plan, edit_words
from steersman.prompts import passages
from steersman.selection.chosen import CoefficientChoice
from steersman.selection.curve import Curve, Pick, Rule, Trial
from steersman.selection.projection import PROJECTION, read_projections, rising, shifts, spread
from steersman.selection.rules import Product, rule_named
from steersman.selection.signals import OF_CONCEPT, TEXT_SIGNALS, average, read_signals, read_text_signals
from steersman.where import Span

PROMPTS = ("Tell me about your day.", "What do you think of the city you live in?")
"""What is completed where nobody says what: open enough for most behaviours to show."""

SAMPLING = Sampling(max_new_tokens=32, repetition_penalty=1.1)
"""Greedy, as ALERT chooses coefficients."""

MOST = 25
"""Completions for a direction and sign, the unsteered ones among them."""

FEWEST = 4
"""Coefficients below which there is nothing to search."""

LARGEST = 2.0
"""Residual norms: beyond twice the stream itself nothing of it is left."""

ONSET = 0.5
"""Class separations beyond the unsteered completion from which on a behaviour counts as begun: nearer to the other side
than to its own."""

CLEAR = 2.0
"""And so many standard deviations of texts that have nothing to do with it."""

TEXTS = 8
"""Plain texts for the rules that read some."""


Memory = MutableMapping[str, Mapping[str, Any]]
"""Finished batches of a search as plain data, by an address of what they depend on besides model and evaluator."""


@dataclass(frozen=True)
class _Trying:
    """All that a trial of a coefficient needs."""

    model: Engine
    direction: Direction
    prompts: tuple[str, ...]
    signals: tuple[str, ...]
    edit: Edit
    span: str
    unit: str
    sign: int
    evaluator: Engine
    steered: bool
    concept: str | None
    sampling: Sampling
    chat: bool
    memory: Memory

    @property
    def toward(self) -> int:
        """Which way along the direction the completions should go: an ablation takes the positive side out."""
        return -1 if isinstance(self.edit, Ablate) else self.sign

    def plan(self, coefficient: float) -> Plan:
        """Return the plan of a signed coefficient; at 0 the empty one."""
        if not coefficient:
            return Plan()
        return Plan(self.direction, self.edit, span=self.span, coefficient=coefficient, unit=self.unit)

    def trials(self, coefficients: Sequence[float], before: Sequence[float | None]) -> tuple[list[Trial], list[Any]]:
        """Return a trial for each coefficient, out of memory where that holds them, and the first one's projections."""
        plans = [self.plan(coefficient) for coefficient in coefficients]
        address = self._address(plans, before)
        if address not in self.memory:
            trials, own = self._tried(coefficients, plans, before)
            self.memory[address] = {"trials": [trial.plain() for trial in trials], "own": own}
        kept = self.memory[address]
        return [Trial.parse(each) for each in kept["trials"]], list(kept["own"])

    def _address(self, plans: Sequence[Plan], before: Sequence[float | None]) -> str:
        digests = [plan.digest() for plan in plans]
        how = [self.signals, self.prompts, self.toward, self.steered, self.concept, asdict(self.sampling), self.chat]
        # In norm units a plan does not know the vector's own length, which is the unit of the projection.
        read = [Plan(self.direction, unit="raw").digest(), self._texts()]
        return hashlib.sha256(json.dumps([digests, list(before), how, read]).encode()).hexdigest()[:32]

    def _tried(
        self, coefficients: Sequence[float], plans: Sequence[Plan], before: Sequence[float | None]
    ) -> tuple[list[Trial], list[Any]]:
        """Return a trial for each coefficient, all completions of one batch, and the first one's projections."""
        rows = [(prompt, plan) for plan in plans for prompt in self.prompts]
        prompts, each = [prompt for prompt, _ in rows], [plan for _, plan in rows]
        texts = [made.text for made in self.model.complete(prompts, each, self.sampling, chat=self.chat)]
        names = [name for name in self.signals if name not in TEXT_SIGNALS and name != PROJECTION]
        read = read_signals(
            self.evaluator,
            prompts,
            texts,
            names,
            concept=self.concept,
            plans=each if self.steered else None,
            chat=self.chat,
        )
        places = self._places(prompts, texts)
        plain = self._plain(plans)
        width = len(self.prompts)
        own = list(before) or places[:width]
        trials: list[Trial] = []
        for index, coefficient in enumerate(coefficients):
            part = slice(index * width, (index + 1) * width)
            signals = (average(read[part]) if names else {}) | plain[index]
            if places:
                moved = shifts(places[part], own, self.toward)
                signals[PROJECTION] = sum(moved) / width
            trials.append(Trial(coefficient, tuple(texts[part]), signals))
        return trials, own

    def _places(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float | None]:
        if not isinstance(self.model, Handle):
            return []
        return read_projections(self.model, self.direction, prompts, texts, chat=self.chat)

    def _plain(self, plans: Sequence[Plan]) -> list[dict[str, float]]:
        names = [name for name in self.signals if name in TEXT_SIGNALS]
        if not names:
            return [{} for _ in plans]
        return [{name: row[name] for name in names} for row in read_text_signals(self.model, self._texts(), plans)]

    def _texts(self) -> list[str]:
        """Return the plain texts that the rule reads; none where it reads none."""
        if not set(self.signals) & set(TEXT_SIGNALS):
            return []
        return [item.text for item in passages("prose", split="validation")[:TEXTS]]


def choose_coefficient(
    model: Engine,
    direction: Direction,
    prompts: Sequence[str] = PROMPTS,
    *,
    rule: str | Rule = "default",
    sign: int = 1,
    edit: Edit | None = None,
    span: str = "all",
    unit: str = "norm",
    evaluator: Engine | None = None,
    steered_evaluator: bool = False,
    concept: str | None = None,
    sampling: Sampling = SAMPLING,
    chat: bool = True,
    most: int = MOST,
    memory: Memory | None = None,
    notify: Callable[[int], None] | None = None,
) -> CoefficientChoice:
    """Return a coefficient between the onset of the behaviour and the end of coherence, as the rule tells them.

    Args:
        model: what writes.
        direction: at the sites where it is to act, all at once.
        prompts: each is completed at every coefficient; their signals are averaged.
        rule: a name of `RULES`, or one of your own.
        sign: 1 or -1; the other sign's search is the same one, mirrored.
        edit: `Add()` where not given; of `Ablate` and `Clamp`, which take fractions, only sign 1. An ablation is read
            by how far completions move to the negative side, since what it takes out is the positive one.
        span: the tokens to steer.
        unit: `norm` or `raw`.
        evaluator: what reads the completions; the model itself, unsteered, where not given.
        steered_evaluator: read them under the plan that they were written under.
        concept: what the behaviour of this sign is about, in words, such as `wedding ceremonies`. Where not given, the
            default rule sees the behaviour in the projection of the completions on the direction.
        sampling: how completions are made.
        chat: `False` reads prompts as plain text also where the model has a chat template.
        most: completions in all, the unsteered ones among them.
        memory: where every batch is looked up first and kept at once, so that a search that was interrupted goes on
            where it was. For one model and one evaluator, whose identities its addresses do not hold.
        notify: called with the number of completions after each batch.

    Raises:
        InputError: for no prompt, more than leave 4 coefficients to try, a sign that is none, or a rule that needs what
            was not given.
    """
    judge = _without_concept(rule_named(rule) if isinstance(rule, str) else rule, concept, model)
    texts = tuple(prompts)
    total = most // len(texts) - 1 if texts else 0
    if total < FEWEST:
        raise InputError(
            f"expected 1 to {max(1, most // (FEWEST + 1))} prompts for {most} completions (each is completed unsteered "
            f"and at {FEWEST} coefficients or more), got {len(texts)}"
        )
    if sign not in (1, -1):
        raise InputError(f"expected the sign 1 or -1, got {sign}")
    how = edit or Add()
    trying = _Trying(
        model, direction, texts, tuple(judge.signals), how, span, unit, sign, evaluator or model, steered_evaluator,
        concept, sampling, chat, {} if memory is None else memory,
    )  # fmt: skip
    reach = reach_of(direction, how, unit, sign)
    clear = None
    if isinstance(model, Handle):
        clear = max(ONSET, CLEAR * spread(model, direction, texts[0], chat=chat))
    trials: list[Trial] = []
    before: list[float | None] = []
    batches = 0
    landmarks = Landmarks()
    # The last question is kept for the recommendation itself, where no trial happens to stand at it.
    for count in [*rounds(total - 1), 1]:
        sizes = ask([abs(t.coefficient) for t in trials if t.coefficient], landmarks, reach, count)
        if not sizes:
            break
        wanted = [sign * size for size in sizes]
        made, before = trying.trials([0.0, *wanted] if not trials else wanted, before)
        trials = sorted([*trials, *made], key=lambda trial: abs(trial.coefficient))
        batches += 1
        if notify:
            notify(len(made) * len(texts))
        curve = Curve(tuple(trials))
        landmarks = _landmarks(_picked(judge, curve, clear), curve)
    curve = Curve(tuple(trials))
    pick = _picked(judge, curve, clear)
    return CoefficientChoice(
        pick,
        curve,
        texts,
        judge.name,
        tuple(direction.sites),
        sign,
        unit,
        edit_words(how),
        str(Span.parse(span)),
        reach.largest,
        len(trials) * len(texts),
        batches,
        _reason(judge, pick, curve, reach, len(texts), unit, batches),
    )


def takes_fractions(edit: Edit) -> bool:
    """Return whether an edit's coefficients are shares from 0 to 1, and so of one sign."""
    try:
        edit.check(-1.0)
    except InputError:
        return True
    return False


def reach_of(direction: Direction, edit: Edit, unit: str, sign: int = 1) -> Reach:
    """Return the sizes that are worth trying: up to 2 residual norms, or all of a fraction.

    Several sites add up, so the search begins the gentler the more there are.

    Args:
        direction: at its sites.
        edit: how.
        unit: `norm` or `raw`: 2 residual norms are `2 x norm / length` of the raw vector, at the site where that is
            least.
        sign: 1 or -1.

    Raises:
        InputError: for a negative sign where the edit takes fractions.
    """
    if takes_fractions(edit):
        if sign < 0:
            raise InputError(f"expected sign 1 for {edit.name!r}, which takes fractions from 0 to 1, got {sign}")
        return Reach(0.125, 0.02, 1.0)
    largest = LARGEST
    if unit == "raw":
        largest *= min(direction.norms[site] / length(direction.vectors[site]) for site in direction.sites)
    first = largest / 20 / min(len(direction.sites), 8)
    return Reach(float(f"{first:.3g}"), float(f"{first / 8:.3g}"), float(f"{largest:.3g}"))


def _without_concept(rule: Rule, concept: str | None, model: Engine) -> Rule:
    """Return a product rule that reads the projection in the place of a concept that nobody named."""
    if (
        isinstance(rule, Product)
        and set(rule.behaviour) & set(OF_CONCEPT)
        and not concept
        and isinstance(model, Handle)
    ):
        return replace(rule, behaviour=(PROJECTION,))
    return rule


def _picked(rule: Rule, curve: Curve, clear: float | None) -> Pick:
    """Return the rule's pick, with the onset by the projection where the rule tells none of its own.

    Args:
        rule: what picks.
        curve: so far.
        clear: the projection, class separations, from which on the behaviour shows; `None` where nobody can read it.
    """
    own = isinstance(rule, Product) and PROJECTION in rule.behaviour
    if clear is None:
        return rule.pick(curve)
    pick = rule.pick(curve)
    if pick.onset is not None and not own:
        return pick
    end = float("inf") if pick.alarm is None else abs(pick.alarm)
    # Only up to the alarm: broken text falls back, and would take the coherent trials before it along.
    values = curve.values(PROJECTION)
    whole = sum(abs(trial.coefficient) < end for trial in curve.trials)
    fitted = [
        replace(trial, signals={**trial.signals, PROJECTION: value})
        for trial, value in zip(curve.trials, (*rising(values[:whole]), *values[whole:]), strict=True)
    ]
    # One lucky completion at a gentle coefficient is no behaviour: a rule that reads the projection sees it smoothed.
    if own:
        pick = rule.pick(Curve(tuple(fitted)))
    usable = [trial for trial in fitted[1:] if abs(trial.coefficient) < end]
    shown = next((trial for trial in usable if trial.signals[PROJECTION] >= clear), None)
    if shown is None:
        most = max((trial.signals[PROJECTION] for trial in usable), default=0.0)
        words = f"no onset: completions move {most:.2g} class separations along the direction, {clear:.2g} is clear"
        status = pick.status if pick.recommended is None else "no onset"
        return replace(pick, status=status, onset=None, reason=f"{pick.reason}; {words}")
    onset = shown.coefficient
    words = f"onset at {onset:g}: completions move {clear:.2g} class separations along the direction"
    recommended = pick.recommended
    # A rule that weighs the behaviour looks for where it shows; what others recommend is not for this one to move.
    if own and recommended is not None and abs(recommended) < abs(onset):
        words += f"; taken in the place of {recommended:g}, where the behaviour does not show yet"
        recommended = onset
    return replace(pick, recommended=recommended, onset=onset, reason=f"{pick.reason}; {words}")


def _landmarks(pick: Pick, curve: Curve) -> Landmarks:
    # Text can be worn from the first coefficient on and break far behind it: what is whole lies below the first.
    best = curve.coefficients[1] if pick.status == "never coherent" else pick.recommended
    return Landmarks(*(None if each is None else abs(each) for each in (pick.alarm, pick.onset, best)))


def _reason(rule: Rule, pick: Pick, curve: Curve, reach: Reach, width: int, unit: str, batches: int) -> str:
    count = len(curve.trials) - 1
    words = (
        f"{pick.reason}; {count} coefficients with {width} prompt{'s' if width > 1 else ''} each in {batches} rounds"
    )
    if pick.alarm is None:
        end = "the largest that is sensible" if abs(pick.tried) >= reach.largest else "as far as the completions went"
        words += f"; no alarm found up to {abs(pick.tried):g} {unit}, {end}"
    return f"{rule.name}: {words}"
