"""Persona pairs: the beginning of a statement, said by somebody who is one thing and by somebody who is the opposite.

A statement is cut after some of its words, so that its last token stands where the next word is being decided. Both
sides read the same words there; only the persona that the instruction asked for differs. Record them with `span="end"`,
the text's last token.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from steersman.builders.sampling import sampled
from steersman.errors import DataError, InputError
from steersman.prompts import Example, Pair

PERSONA_TEMPLATES: tuple[str, ...] = (
    "Talk like a person who is very {concept}.",
    "From now on you are extremely {concept}. Let everything you say show it.",
    "Tell me something, the way somebody {concept} would.",
    "Play the part of a deeply {concept} character and speak.",
)
"""Instructions that ask for a persona; `{concept}` is the word or phrase."""


def persona_pairs(
    concept: str,
    opposite: str,
    *,
    source: str | Path | None = None,
    templates: Sequence[str] = PERSONA_TEMPLATES,
    every: int = 1,
    lead: str = "",
    limit: int | None = 256,
    seed: int = 0,
) -> list[Pair]:
    """Return pairs of one persona against its opposite, over cut statements; record them with `span="end"`.

    Args:
        concept: what the positive side is, such as `cheerful`: an adjective, or a phrase that can stand in its place.
        opposite: what the negative side is.
        source: a file of statements, see `statements`; the built-in ones where not given.
        templates: instructions with `{concept}` in them.
        every: cut after every so many words, at least 1, but never after the last one.
        lead: stands before every statement. A model without a chat template reads the statement right behind the
            instruction, so give it a space or a new line.
        limit: so many pairs, drawn from all combinations of template and cut statement; `None` takes all.
        seed: of the draw.

    Returns:
        Pairs with the instruction as prompt and the cut statement as completion, in the order of the statements.

    Raises:
        InputError: for a concept that is blank or the same as its opposite, a template without `{concept}`, or numbers
            below 1.
        DataError: for statements that cannot be read, or none of two words.

    Reference: the persona contrast of Zou et al. (2023), "Representation engineering", section 3.1; cut at every place,
    as in repeng (Vogel, 2024).
    """
    concept, opposite = concept.strip(), opposite.strip()
    if not concept or not opposite or concept.casefold() == opposite.casefold():
        raise InputError(f"expected a concept and another word for its opposite, got {concept!r} and {opposite!r}")
    if not templates or any("{concept}" not in template for template in templates):
        raise InputError(f"expected templates with {{concept}} in them, got {list(templates)}")
    if every < 1:
        raise InputError(f"expected to cut after every 1 or more words, got {every}")
    # Many statements begin with the same word; what was cut alike counts once.
    cuts: dict[tuple[str, str], str] = {}
    for number, words in enumerate(map(str.split, statements(source)), start=1):
        for count in range(every, len(words), every):
            for form, template in enumerate(templates, start=1):
                cuts.setdefault((template, lead + " ".join(words[:count])), f"{number}-{count}-{form}")
    if not cuts:
        raise DataError(f"expected statements of more than {every} words to cut, got none")
    return [
        Pair(
            name,
            Example(template.replace("{concept}", concept), text),
            Example(template.replace("{concept}", opposite), text),
        )
        for (template, text), name in sampled(list(cuts.items()), limit, seed)
    ]


def statements(source: str | Path | None = None) -> list[str]:
    """Return the beginnings of statements: the built-in ones, or those of a UTF-8 text file, one a line.

    Args:
        source: a path; blank lines are left out.

    Raises:
        DataError: when it cannot be read or holds none.
    """
    path = Path(str(resources.files("steersman"))) / "data" / "statements.txt" if source is None else Path(source)
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a text file with one statement a line, got {str(path)!r}: {error}") from None
    found = [line.strip() for line in text.split("\n") if line.strip()]
    if not found:
        raise DataError(f"{path}: expected at least one statement, got none")
    return found
