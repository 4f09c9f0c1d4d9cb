"""The behaviours' items: read from built-in sets or files, and cut into train, validation and test."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.builders.sampling import balanced, sampled
from steersman.errors import DataError, InputError
from steersman.prompts import Example, Pair
from steersman.samples import behaviour_items
from steersman.studies.behaviours.config import BehavioursConfig, SplitConfig
from steersman.tasks.behaviour import BehaviourTask, Form, Reading, answer_kinds, chat_prompt, plain_prompt


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
        remarks: what to know of its items, sentences.
    """

    name: str
    source: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    split: str
    remarks: tuple[str, ...] = ()


def behaviours_of(config: BehavioursConfig) -> list[Behaviour]:
    """Return the study's behaviours with their items, drawn down to the configuration's limits.

    Items answered in words, Yes or No, are drawn so that each matches equally often: exactly so on train items, where
    a surplus is left out and said, and as nearly as there are items elsewhere. Letters are balanced as they are asked.

    Raises:
        DataError: for a source that cannot be used, or holds too few items to cut.
        InputError: for items without options in words where words are to be read.
    """
    found: list[Behaviour] = []
    limits = config.limits
    for name, source in config.sources.items():
        parts, how = split_items(source, config.split)
        sizes = (limits.train, limits.validation, limits.test)
        kept = [
            tuple(balanced(part, size, config.seed, answer_kinds(part)))
            for part, size in zip(parts, sizes, strict=True)
        ]
        train, remarks = _levelled(name, kept[0], config.seed)
        kept[0] = train
        found.append(Behaviour(name, source, train, kept[1], kept[2], how, remarks))
        if "text" in (config.reading, config.scoring):
            for part in kept:
                _check_words(name, part)
    return found


def _levelled(name: str, items: Sequence[Pair], seed: int) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return train items of which Yes matches as many as No, and what to say of that.

    Every surplus item would add the vector from one word to the other, which is many times longer than a behaviour's.
    """
    kinds = answer_kinds(items)
    counts = Counter(kind for kind in kinds if kind[0])
    if not counts:
        one_word = {each.positive.completion.strip(" ()") for each in items}
        word = next(iter(one_word))
        if len(items) > 1 and len(one_word) == 1 and len(word) > 1:
            return tuple(items), (f"{name}: {word} matches every train item, so its vector is largely that word's",)
        return tuple(items), ()
    kept: list[Pair] = []
    for kind in dict.fromkeys(kinds):
        same = [item for item, each in zip(items, kinds, strict=True) if each == kind]
        kept += sampled(same, min(counts[kind], counts[kind[1], kind[0]]) if kind[0] else None, seed)
    chosen = {item.id for item in kept}
    if len(items) - len(kept) < 2:  # an odd number is no news
        return tuple(item for item in items if item.id in chosen), ()
    told = ", ".join(f"{kind[0]} {count}" for kind, count in counts.items())
    remark = f"{name}: {len(items) - len(kept)} train items are left out, so that each answer matches as often ({told})"
    return tuple(item for item in items if item.id in chosen), (remark,)


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
