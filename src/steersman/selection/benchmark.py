"""The benchmark of selection rules: every rule on judged sweeps, from the completions and the concept's name alone.

Constants that were fitted to marks are never reported on the marks they were fitted to: `held out` rows fit the
coherence mark on all other concepts and are counted on the one left out.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.engines import Engine
from steersman.files.log import Log
from steersman.selection.calibration import fit_mark
from steersman.selection.curve import Curve, Rule
from steersman.selection.judged import STORED, Outcome, Standing, Sweep, correlations, judge, standing
from steersman.selection.rules import ALERT, RULES, Coherent, Product, Threshold
from steersman.selection.signals import SIGNALS, read_signals

FORMAT = 1
"""Of the file that keeps what was read; raised when a signal changes its meaning."""

HELD_OUT = "held out: constants fitted on the other concepts"


@dataclass(frozen=True)
class Bench:
    """How the rules do.

    Args:
        standings: of every rule over all sweeps.
        by_concept: the same for the sweeps of each concept.
        correlations: each signal's rank correlation with judged coherence and behaviour.
        outcomes: what every rule chose, one per sweep, by the rule's name.
        constants: of the held-out rows, the coherence mark's intercept and weights by the concept left out.
    """

    standings: Sequence[Standing]
    by_concept: Mapping[str, Sequence[Standing]]
    correlations: Mapping[str, tuple[float, float]]
    outcomes: Mapping[str, Sequence[Outcome]]
    constants: Mapping[str, Mapping[str, float]]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rules": [each.plain() for each in self.standings],
            "by_concept": {name: [each.plain() for each in found] for name, found in self.by_concept.items()},
            "rank_correlations": {
                # A signal that never changes has none, and NaN is no JSON.
                name: {"coherence": _number(coherence), "behaviour": _number(behaviour)}
                for name, (coherence, behaviour) in self.correlations.items()
            },
            "held_out_constants": {name: dict(values) for name, values in self.constants.items()},
            "choices": {
                name: [
                    {
                        "status": one.pick.status,
                        "recommended": one.pick.recommended,
                        "alarm": one.pick.alarm,
                        "coefficient": one.coefficient,
                        "share_of_best": one.share,
                    }
                    for one in found
                ]
                for name, found in self.outcomes.items()
            },
        }


def read_curves(
    evaluator: Engine,
    sweeps: Sequence[Sweep],
    *,
    identity: str = "",
    keep: Path | None = None,
    notify: Callable[[int], None] | None = None,
) -> list[Curve]:
    """Return the sweeps as rules see them: every signal of every completion, read by a model.

    Args:
        evaluator: what reads; prompts and completions are plain text to it.
        sweeps: what is read.
        identity: of the evaluator, part of what is kept.
        keep: file that keeps what was read; what it holds is not read again.
        notify: called with the number of completions after each sweep.
    """
    log = Log(keep, "signals", FORMAT) if keep else None
    try:
        known = {record["key"]: record["signals"] for record in log.records} if log else {}
        curves: list[Curve] = []
        for sweep in sweeps:
            keys = [_key(identity, sweep, text) for text in sweep.completions]
            missing = {key: text for key, text in zip(keys, sweep.completions, strict=True) if key not in known}
            read = read_signals(
                evaluator,
                [sweep.prompt] * len(missing),
                list(missing.values()),
                list(SIGNALS),
                concept=sweep.concept,
                chat=False,
            )
            for key, signals in zip(missing, read, strict=True):
                known[key] = signals
                if log:
                    log.append({"key": key, "signals": signals})
            curves.append(sweep.curve([known[key] for key in keys]))
            if notify:
                notify(len(keys))
        return curves
    finally:
        if log:
            log.close()


def bench_rules(sweeps: Sequence[Sweep], curves: Sequence[Curve], *, seed: int = 0) -> Bench:
    """Return how every rule that needs completions alone does on judged sweeps.

    Args:
        sweeps: with the marks.
        curves: what the rules see, one per sweep.
        seed: of the bootstrap.
    """
    rules: list[Rule] = []
    if all(sweep.metric for sweep in sweeps):
        rules.append(Threshold("alert-published, stored metric", STORED, "up", 0.2, True, back_off=1.0, source=ALERT))
        rules.append(
            Threshold("alert-published-0.6, stored metric", STORED, "up", 0.2, True, back_off=0.6, source=ALERT)
        )
    rules += [rule for rule in RULES.values() if set(rule.signals) <= set(SIGNALS)]
    outcomes = {rule.name: [judge(rule, *pair) for pair in zip(sweeps, curves, strict=True)] for rule in rules}
    constants: dict[str, Mapping[str, float]] = {}
    concepts = list(dict.fromkeys(sweep.concept for sweep in sweeps))
    if len(concepts) > 1:
        for rule in [rule for rule in rules if isinstance(rule, (Coherent, Product))]:
            fitted = {concept: _without(rule, sweeps, curves, concept) for concept in concepts}
            constants |= {
                concept: {"intercept": one.coherence.intercept, **one.coherence.weights}
                for concept, one in fitted.items()
            }
            outcomes[f"{rule.name}, held out"] = [
                judge(fitted[sweep.concept], sweep, curve) for sweep, curve in zip(sweeps, curves, strict=True)
            ]
    return Bench(
        [standing(name, found, seed) for name, found in outcomes.items()],
        {
            concept: [
                standing(name, [one for one, s in zip(found, sweeps, strict=True) if s.concept == concept], seed)
                for name, found in outcomes.items()
            ]
            for concept in concepts
        },
        correlations(sweeps, curves),
        outcomes,
        constants,
    )


def _without(
    rule: Coherent | Product, sweeps: Sequence[Sweep], curves: Sequence[Curve], concept: str
) -> Coherent | Product:
    """Return the rule with its coherence mark fitted on all sweeps but one concept's."""
    others = [(sweep, curve) for sweep, curve in zip(sweeps, curves, strict=True) if sweep.concept != concept]
    reading = fit_mark(
        [curve for _, curve in others],
        [sweep.coherence for sweep, _ in others],
        list(rule.coherence.weights),
        relative=rule.coherence.relative,
    )
    return replace(rule, coherence=reading)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _key(identity: str, sweep: Sweep, text: str) -> str:
    return hashlib.sha256(json.dumps([identity, sweep.concept, sweep.prompt, text]).encode()).hexdigest()[:32]
