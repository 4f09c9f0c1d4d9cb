"""The study's record: everything that the report reads, as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.methods import massive_warning
from steersman.studies.desk import Desk
from steersman.studies.skills.choosing import Best, Choice
from steersman.studies.skills.comparing import Side, compared, compared_gaps
from steersman.studies.skills.config import SkillsConfig
from steersman.studies.skills.corpora import Corpus
from steersman.studies.skills.curves import Curve
from steersman.studies.skills.vectors import SkillVector, cosine_records, vector_records

RECORD = "skills.json"

VERSION = 1


def skills_record(
    desk: Desk[SkillsConfig],
    corpora: Mapping[str, Corpus],
    vectors: Sequence[SkillVector],
    tried: Sequence[Curve],
    curves: Sequence[Curve],
    choices: Sequence[Choice],
    found: Sequence[Mapping[str, Any]],
    sentences: Sequence[str],
) -> dict[str, Any]:
    """Return the record of a finished study, `skills.json`.

    Args:
        desk: the run at hand.
        corpora: by name.
        vectors: all of them.
        tried: curves on validation texts.
        curves: on test texts.
        choices: one for each removed skill.
        found: the comparisons.
        sentences: what was found.
    """
    config = desk.config
    baseline = curves[0].points[0.0]
    return {
        "version": VERSION,
        "model": desk.model.name,
        "layers": desk.model.depth,
        "unit": "norm",
        "corpora": [
            {
                "name": name,
                "role": corpus.role,
                "source": corpus.source,
                "train": len(corpus.train),
                "validation": len(corpus.validation),
                "test": len(corpus.test),
                "tokens": sum(int(outcome.details["tokens"]) for outcome in baseline[name].outcomes),
            }
            for name, corpus in corpora.items()
        ],
        "keep": config.keep,
        "retain": config.retain,
        "metric": config.metric,
        "vectors": vector_records(vectors),
        "cosines": cosine_records(vectors),
        "validation": [curve.record(config.retain) for curve in tried],
        "test": [curve.record(config.retain) for curve in curves],
        "chosen": [
            {
                "remove": choice.remove,
                "vector": choice.best.curve.line.vector,
                "layers": list(choice.best.curve.line.layers),
                "coefficient": choice.best.coefficient,
                "reason": choice.reason,
            }
            for choice in choices
        ],
        "comparisons": list(found),
        "finding": list(sentences),
    }


HEADLINE = ("steered against permuted", "broad against narrow")
"""The questions whose answers come first."""


def comparisons(
    config: SkillsConfig, vectors: Sequence[SkillVector], choices: Sequence[Choice], curves: Sequence[Curve]
) -> list[dict[str, Any]]:
    """Return every comparison on test texts that the curves allow, skill by skill, then the two skills'.

    Args:
        config: the kept level, and which skill is broad and which narrow.
        vectors: all of them.
        choices: one for each removed skill.
        curves: on test texts.
    """
    retain = config.retain
    found: list[dict[str, Any]] = []
    steered = {choice.remove: steered_side(curves, choice.best) for choice in choices}
    permuted = {choice.remove: control_side(curves, choice.remove, "permuted") for choice in choices}
    for choice in choices:
        for arm in ("permuted", "random"):
            control = control_side(curves, choice.remove, arm)
            if control is not None:
                found += compared(f"steered against {arm}", steered[choice.remove], control, retain)
        if choice.single is not None and choice.several is not None:
            sides = [steered_side(curves, each) for each in (choice.single, choice.several)]
            found += compared("one layer against two", sides[0], sides[1], retain)
        for question, first, second in _counterparts(choice, vectors):
            found += compared(question, steered_side(curves, first), steered_side(curves, second), retain)
    if config.broad and config.narrow:
        broad, narrow = steered[config.broad], steered[config.narrow]
        found += compared("broad against narrow", broad, narrow, retain)
        first, second = permuted[config.broad], permuted[config.narrow]
        if first is not None and second is not None:
            found += compared_gaps((broad, first), (narrow, second), retain)
    return found


def _counterparts(choice: Choice, vectors: Sequence[SkillVector]) -> list[tuple[str, Best, Best]]:
    """Return the chosen vector beside those that differ from it in one thing, each at its own best."""
    mine = {each.name: each for each in vectors if each.remove == choice.remove}
    chosen = mine[choice.best.curve.line.vector]
    found: list[tuple[str, Best, Best]] = []
    for name, best in choice.others.items():
        other = mine[name]
        if other.reading == chosen.reading:
            pair = (choice.best, best) if chosen.masked > other.masked else (best, choice.best)
            found.append(("masked against raw", *pair))
        elif other.masked == chosen.masked:
            pair = (choice.best, best) if chosen.reading == "last" else (best, choice.best)
            found.append(("last token against mean", *pair))
    return found


def steered_side(curves: Sequence[Curve], best: Best) -> Side:
    """Return the test curve of what was measured on validation texts."""
    wanted = best.curve.line
    curve = next(
        each
        for each in curves
        if each.line.arm == "steered" and (each.line.vector, each.line.layers) == (wanted.vector, wanted.layers)
    )
    return Side(wanted.place, (curve,))


def control_side(curves: Sequence[Curve], remove: str, arm: str) -> Side | None:
    """Return the controls of one skill's chosen vector; `None` where there are none."""
    mine = tuple(each for each in curves if (each.line.remove, each.line.arm) == (remove, arm))
    if not mine:
        return None
    words = "its coordinates permuted" if arm == "permuted" else "a random vector of its length"
    return Side(words + (f" ({len(mine)} seeds)" if len(mine) > 1 else ""), mine)


def findings(
    config: SkillsConfig,
    vectors: Sequence[SkillVector],
    choices: Sequence[Choice],
    curves: Sequence[Curve],
    found: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return what the study came to, in sentences: first how selective, then the points chosen, all else, warnings.

    Args:
        config: the kept level.
        vectors: all of them.
        choices: one for each removed skill.
        curves: on test texts.
        found: the comparisons.
    """
    told = [each for each in found if each["measure"] != "area"]
    first = [each["sentence"] for each in told if each["question"] in HEADLINE]
    sentences: list[str] = [*first]
    words = "top-1" if config.metric == "top1_accuracy" else "top-10"
    for choice in choices:
        side = steered_side(curves, choice.best)
        curve = side.curves[0]
        index = min(range(len(curve.coefficients)), key=lambda i: abs(curve.coefficients[i] - choice.best.coefficient))
        x, y = curve.removed[index].estimate(), curve.kept[index].estimate()
        sentences.append(
            f"{side.label}, coefficient {curve.coefficients[index]:g} as chosen on validation texts: on test texts "
            f"{words} accuracy of {choice.remove} falls to {x.value:.1%} [{x.low:.1%}, {x.high:.1%}] of what it was, "
            f"that of {config.keep} to {y.value:.1%} [{y.low:.1%}, {y.high:.1%}]."
        )
    sentences += [each["sentence"] for each in told if each["sentence"] not in first]
    sentences += [f"{each['question'].capitalize()}: {each['note']}." for each in found if each.get("note")]
    for vector in vectors:
        warning = massive_warning(vector.direction)
        if warning is not None:
            sentences.append(f"{vector.name}: {warning}.")
    return sentences
