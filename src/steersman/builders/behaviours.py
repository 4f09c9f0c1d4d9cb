"""Behaviour items: a question with one answer that shows a behaviour and one that does not.

The form is that of the model-written evaluations: `{"question", "answer_matching_behavior",
"answer_not_matching_behavior"}`, one object a line. The answers are letters or words: ` (A)` or `A`, ` Yes` or `Yes`.

Five sets of 120 items are built in, written for this project: `myopia`, `wealth-seeking`, `sycophancy`, `agreeableness`
and `risk-taking`. Of the two choices the matching one is (A) in exactly half of every split, and splits share no topic.
"""

import re
from pathlib import Path
from typing import Literal, get_args

from steersman.builders.sampling import balanced
from steersman.errors import DataError, InputError
from steersman.prompts import Example, Pair, Record, Split, built_in_sets, read_items, text_field

AnswerForm = Literal["letter", "text"]

_OPTION = re.compile(r"^\s*\((?P<letter>[A-Z])\)\s*(?P<text>\S.*?)\s*$", re.MULTILINE)


def behaviour_pairs(
    source: str | Path,
    *,
    form: AnswerForm = "letter",
    split: Split | None = "train",
    limit: int | None = None,
    seed: int = 0,
) -> list[Pair]:
    """Return pairs of the same question, answered with the behaviour and without it.

    Args:
        source: a built-in set, or a JSONL file in the form that the module shows, optionally with `id` and `split`.
        form: `letter`, the answer up to its letter, as in `(A`, or the word `Yes`; record it with `span="end"`, since
            its last token is the answer's. `text`, the words of the option that the letter stands for in the question,
            or an answer that is a word itself, without the question's last paragraph where it opens a parenthesis for
            the answer; record it with `span="completion"`, the mean over those words.
        split: only the lines of that split, where the file says splits; `None` takes all.
        limit: so many pairs, drawn from all, as many with each answer (letter or word) as there can be; `None` takes
            all.
        seed: of the draw.

    Raises:
        InputError: for an unknown form, or a limit below 1.
        DataError: for a file that cannot be used, with its line; also with `text`, when a question does not list the
            option.

    Reference: Panickssery et al. (2023), "Steering Llama 2 via contrastive activation addition", section 3, which reads
    the answer's letter; Perez et al. (2022) for the items.
    """
    if form not in get_args(AnswerForm):
        raise InputError(f"expected an answer form among {', '.join(get_args(AnswerForm))}, got {form!r}")
    names = built_in_sets("behaviours")
    path = names.get(str(source), Path(source).expanduser())
    if not path.is_file():
        raise DataError(
            f"expected a JSONL file of questions or a built-in set ({', '.join(names)}), got {str(source)!r}, "
            "which is no file"
        )
    pairs = read_items(path, lambda record: behaviour_pair(record, form), split)
    answers = [pair.positive.completion for pair in read_items(path, behaviour_pair, split)]
    return balanced(pairs, limit, seed, answers)


def behaviour_pair(record: Record, form: AnswerForm = "letter") -> Pair:
    """Return the pair of one record, which has an `id`; see `behaviour_pairs`.

    Raises:
        InputError: for a field that is not there or of a wrong type, or an option that the question does not list.
    """
    question = text_field(record, "question")
    keys = ("answer_matching_behavior", "answer_not_matching_behavior")
    answers = [text_field(record, key).strip() for key in keys]
    if answers[0] == answers[1]:
        raise InputError(f"expected two different answers, got {answers[0]!r} twice")
    if form == "letter":
        # Without the closing parenthesis the last token is the letter, which is where the answer is decided.
        said = [answer.removesuffix(")") for answer in answers]
    else:
        said = [_option(question, answer) for answer in answers]
        if question.rstrip().endswith("("):
            question = question.rpartition("\n\n")[0] or question
    return Pair(record["id"], Example(question, said[0]), Example(question, said[1]))


def _option(question: str, answer: str) -> str:
    options: dict[str, str] = {match["letter"]: match["text"] for match in _OPTION.finditer(question)}
    letter = answer.strip("()")
    if len(letter) > 1:
        return letter  # such as Yes: a word says itself
    if letter not in options:
        raise InputError(
            f"expected a question that lists the option {answer!r} on a line of its own, got options "
            f"{', '.join(options) or 'none'}; take the answer's letter"
        )
    return options[letter]
