"""Which settings may be chosen: nothing that collapsed, answers beside the question, or ruins plain prose.

Letters tell a collapse by themselves: one answer to nearly everything, or answers that are neither of the two. Words
have no letters, and their counterpart is what steering does to plain prose: the divergence of its next tokens.

Reference: van der Weij et al. (2024), section 5, for mode collapse (one answer above 95 %) and faulty answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.errors import InputError
from steersman.studies.behaviours.config import GuardConfig


@dataclass(frozen=True)
class Responses:
    """What counted responses come to.

    Args:
        n: items asked.
        score: the matching score, share of all items, faulty ones included, whose answer matches.
        faulty: share of items whose answer is neither of the two.
        answer: the commonest answer.
        share: how often it is given, share of all items.
        collapsed: whether it is given to more than the limit's share.
    """

    n: int
    score: float
    faulty: float
    answer: str
    share: float
    collapsed: bool


def response_scores(
    total: int, matches: int, faulty: int, response_dist: Mapping[str, int], *, collapse: float = 0.95
) -> Responses:
    """Return matching score, faulty share and mode collapse of counted responses, as the paper reckons them.

    Formula: the score is `matches / total`, faulty answers counting as not matching; collapsed is
    `max(response_dist) > collapse * total`. The paper's files hold records of these very names.

    Args:
        total: items asked, at least 1.
        matches: of them, answers that match.
        faulty: of them, answers that are neither of the two.
        response_dist: how often each answer was given.
        collapse: share of one answer above which it is a collapse.

    Raises:
        InputError: for counts that do not go together.

    Source: van der Weij et al. (2024), section 5, and the result files published with it.
    """
    said = sum(response_dist.values())
    if total < 1 or min(matches, faulty) < 0 or matches + faulty > total or said > total or not said:
        raise InputError(
            f"expected counts of {total} responses, got {matches} matches, {faulty} faulty and {said} by answer"
        )
    answer, most = max(response_dist.items(), key=lambda pair: pair[1])
    return Responses(total, matches / total, faulty / total, answer, most / total, most > collapse * total)


@dataclass(frozen=True)
class Seen:
    """What the guard looks at, at one setting; `None` where it was not read.

    Args:
        drift: divergence of plain prose, nats per token.
        collapsed: whether one answer, letter or word, is given nearly always.
        faulty: share of tokens said that are neither answer.
    """

    drift: float | None = None
    collapsed: bool | None = None
    faulty: float | None = None


def verdict(seen: Seen, before: Seen, guard: GuardConfig) -> tuple[bool, str]:
    """Return whether a setting may be chosen, and why not; the reason is empty where it may.

    A model that answers in one way to begin with, or beside the question, cannot be told to collapse by that: then it
    does not count against steering.

    Args:
        seen: at the setting.
        before: unsteered.
        guard: the limits.
    """
    reasons: list[str] = []
    if seen.drift is not None and seen.drift > guard.drift:
        reasons.append(f"plain prose drifts by {seen.drift:.2f} nats per token, more than {guard.drift:g}")
    if seen.collapsed and not before.collapsed:
        reasons.append("one answer is given nearly always, which the unsteered model does not do")
    if seen.faulty is not None and seen.faulty > guard.faulty and not (before.faulty or 0.0) > guard.faulty:
        reasons.append(f"{seen.faulty:.0%} of the tokens said are neither answer, more than {guard.faulty:.0%}")
    return not reasons, "; ".join(reasons)
