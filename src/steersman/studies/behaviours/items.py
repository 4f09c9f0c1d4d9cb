"""The behaviours' items: read from built-in sets or files, and cut into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.errors import DataError, InputError
from steersman.prompts import Example, Pair
from steersman.samples import behaviour_items
from steersman.studies.behaviours.config import BehavioursConfig, SplitConfig
from steersman.tasks.behaviour import BehaviourTask, Form, Reading, chat_prompt, plain_prompt
from steersman.tasks.named import spread


@dataclass(frozen=True)
class Behaviour:
    """One behaviour's items.

    Args:
        name: of the behaviour.
        source: a built-in set or a path.
        train: builds the vector.
        validation: chooses.
        test: reports.
        split: how the source was cut, in words.
    """

    name: str
    source: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    split: str


def behaviours_of(config: BehavioursConfig) -> list[Behaviour]:
    """Return the study's behaviours with their items, cut to the configuration's limits.

    Raises:
        DataError: for a source that cannot be used, or holds too few items to cut.
        InputError: for items without options in words where words are to be read.
    """
    found: list[Behaviour] = []
    limits = config.limits
    for name, source in config.sources.items():
        parts, how = split_items(source, config.split)
        sizes = (limits.train, limits.validation, limits.test)
        kept = [tuple(spread(part, size)) for part, size in zip(parts, sizes, strict=True)]
        found.append(Behaviour(name, source, kept[0], kept[1], kept[2], how))
        if "text" in (config.reading, config.scoring):
            for part in kept:
                _check_words(name, part)
    return found


def split_items(source: str, split: SplitConfig) -> tuple[tuple[Sequence[Pair], Sequence[Pair], Sequence[Pair]], str]:
    """Return a source's items for train, validation and test, and how they were told apart, in words.

    A source that says splits is taken at its word; any other is cut by position.

    Raises:
        DataError: for a source that cannot be used, or holds too few items to cut.
    """
    every, test = behaviour_items(source, split=None), behaviour_items(source, split="test")
    if len(test) < len(every):
        parts = (behaviour_items(source, split="train"), behaviour_items(source, split="validation"), test)
        return parts, "as the source says"
    try:
        sizes, how = split_sizes(len(every), split)
    except InputError as error:
        raise DataError(f"{source}: {error}") from None
    first, second = sizes[0], sizes[0] + sizes[1]
    return (every[:first], every[first:second], every[second : second + sizes[2]]), how


def split_sizes(count: int, split: SplitConfig) -> tuple[tuple[int, int, int], str]:
    """Return how many items train, validation and test get, by position, and that in words.

    By counts where the items are enough for them, else by shares.

    Args:
        count: items in all.
        split: counts and shares.

    Raises:
        InputError: for too few items.

    Source: van der Weij et al. (2024), section 5, who build on 500, choose on 200 and report on the rest.
    """
    if split.counts is not None:
        train, validation, test = split.counts
        left = count - train - validation
        if left >= (1 if test == "rest" else test):
            return (train, validation, left if test == "rest" else test), "by position, counts"
    first, second, third = (round(share * count) for share in split.shares)
    sizes = (first, second, min(third, count - first - second))
    if min(sizes) < 1:
        raise InputError(f"expected enough items to cut into train, validation and test, got {count}")
    return sizes, "by position, shares"


def contrast(items: Sequence[Pair], reading: Reading, form: Form) -> tuple[list[Pair], str]:
    """Return the pairs that a vector is fitted to, asked just as they are scored, and the span that is read.

    By `text` the question stands without its options, answered in the words of one, and the mean over those words is
    read. By `letter` the options stand in sight, the matching answer is (A) in every other item, so that the vector is
    not the one from B to A, and the answer's own token is read.

    Args:
        items: of one behaviour.
        reading: which.
        form: of letters, as a `BehaviourTask` asks; words are always answered in the model's own template.

    Sources: Panickssery et al. (2023), section 3, and van der Weij et al. (2024), section 5, who read the letter.
    """
    task = BehaviourTask(items, form=form)
    pairs: list[Pair] = []
    for item, (asked, *_) in zip(items, task.asked(), strict=True):
        if reading == "text" and asked.words:
            matching, other = (Example(asked.stem, words) for words in asked.words)
        elif form == "chat":
            matching, other = (Example(chat_prompt(asked), answer) for answer in (asked.matching, asked.other))
        else:
            prompt = plain_prompt(asked)
            gap = "" if prompt.endswith(("(", "\n", " ")) else " "
            matching, other = (Example("", f"{prompt}{gap}{answer}") for answer in (asked.matching, asked.other))
        pairs.append(Pair(item.id, matching, other, item.category))
    return pairs, "completion" if reading == "text" else "end"


def _check_words(name: str, items: Sequence[Pair]) -> None:
    for item, (asked, *_) in zip(items, BehaviourTask(items).asked(), strict=True):
        if asked.words is None:
            raise InputError(
                f"expected options in words for {name}, item {item.id}, got letters whose options the question does "
                "not list; set reading and scoring to letter"
            )
