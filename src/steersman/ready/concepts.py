"""The six concepts: what each ready direction is made of, and what shows that it works.

Two come from the built-in pairs and are read over the answers; four from persona pairs, the same cut statements said by
somebody who is one thing and by somebody who is the opposite. What is counted as their effect never looks at the
direction, and the prompts that choose are not those that confirm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from steersman.builders import persona_pairs
from steersman.direction import Direction
from steersman.objectives import SPLITS, Measure, Objective, objective_named
from steersman.prompts import Pair, prompt_set, split_pairs
from steersman.ready.wording import Wording, WordingTask
from steersman.ready.wordings import CHEER, FORMALITY, IMAGERY, PERSON
from steersman.tasks.named import spread

PAIRS = 96
"""Persona pairs of a concept."""

CHOOSING, CONFIRMING = 20, 60
"""Prompts of the validation split to choose on, and of the test split to confirm on, where no limit is given."""


@dataclass(frozen=True)
class Concept:
    """What a ready direction is made of.

    Args:
        name: of the direction.
        up: what a positive coefficient does, in a few words.
        down: what a negative one does.
        pairs: makes the pairs it is fitted to.
        span: the tokens of them that are read.
        opening: only so many first tokens of every answer are read; all where `None`.
        layers: shares of the depth to choose from; six at even distances where there is none.
        budget: the most that steering may cost.
        aim: for a direction, a sign and a limit of items, what is to be gained with that sign.
    """

    name: str
    up: str
    down: str
    pairs: Callable[[], list[Pair]] = field(repr=False)
    span: str = field(repr=False)
    aim: Callable[[Direction, int, int | None], Objective] = field(repr=False)
    opening: int | None = None
    layers: tuple[float, ...] = ()
    budget: str = "kl=0.3"

    @property
    def title(self) -> str:
        """Both ways in one line."""
        return f"{self.up} / {self.down}"


def _built_in(name: str, up: str, down: str, layers: tuple[float, ...], opening: int | None = None) -> Concept:
    return Concept(
        name,
        up,
        down,
        lambda: split_pairs(name, "train"),
        "completion",
        lambda direction, sign, limit: objective_named(name, direction, sign=sign, limit=limit),
        opening,
        layers,
        # What is said and not only how: that moves more of the next tokens than a tone of voice does.
        "kl=0.6",
    )


def _persona(name: str, up: str, down: str, who: str, opposite: str, wording: Wording) -> Concept:
    def aim(_: Direction, sign: int, limit: int | None) -> Objective:
        parts = [
            WordingTask(spread(prompt_set("ordinary", split=split), limit or count), wording)
            for split, count in zip(SPLITS, (CHOOSING, CONFIRMING), strict=True)
        ]
        return Objective(Measure("wording", "wording", parts[0], parts[1], sign), wording.unit)

    return Concept(name, up, down, lambda: persona_pairs(who, opposite, limit=PAIRS), "end", aim)


CONCEPTS: dict[str, Concept] = {
    each.name: each
    for each in (
        _persona(
            "cheerful",
            "more cheerful",
            "gloomier",
            "cheerful, delighted and full of joy",
            "gloomy, miserable and hopeless",
            CHEER,
        ),
        _persona(
            "formal",
            "more formal",
            "more casual",
            "formal, polite and official",
            "casual, chatty and full of slang",
            FORMALITY,
        ),
        _persona(
            "poetic",
            "more poetic, with imagery",
            "plainer and drier",
            "poetic, lyrical and full of imagery",
            "plain, dry and matter-of-fact",
            IMAGERY,
        ),
        _persona(
            "personal",
            "talks of itself and its feelings",
            "impersonal and detached",
            "personal, always talking about yourself and your own feelings",
            "impersonal, objective and detached",
            PERSON,
        ),
        # A refusal is in its first words; at these depths it was found on this kind of pairs (docs/study.md).
        _built_in("refusal", "refuses", "complies", (0.35, 0.55), 8),
        _built_in("honesty", "corrects the user", "flatters the user", (0.45, 0.55)),
    )
}
"""By name, in the order in which they are shown."""
