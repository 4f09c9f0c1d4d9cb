"""JSONL in, frozen values out; every bad line is told with its file and number."""

import json

import pytest

from steersman.errors import DataError, InputError
from steersman.prompts import Example, Pair, PromptItem, Question, content_hash, pairs, passages, prompt_set, questions

PAIR = {
    "id": "one",
    "positive": {"prompt": "Harm?", "completion": "No."},
    "negative": {"prompt": "Help?", "completion": "Yes."},
    "compliance": "Sure.",
}
QUESTION = {"id": "q", "subject": "s", "question": "1+1?", "choices": ["1", "2", "3", "4"], "answer": 1}


@pytest.fixture
def write(tmp_path):
    """Write lines (objects as JSON, text as it is) into a file."""

    def put(*lines):
        path = tmp_path / "set.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return put


def test_the_three_contrasts_of_a_pair(write):
    path = write(PAIR)
    (answered,) = pairs(path)
    assert answered == Pair("one", Example("Harm?", "No."), Example("Harm?", "Sure."))
    (asked,) = pairs(path, contrast="prompt")
    assert (asked.positive, asked.negative) == (Example("Harm?"), Example("Help?"))
    (both,) = pairs(path, contrast="both")
    assert (both.positive, both.negative) == (Example("Harm?", "No."), Example("Help?", "Yes."))


def test_equal_prompts_need_no_compliance(write):
    record = {"positive": {"prompt": "A?", "completion": "No."}, "negative": {"prompt": "A?", "completion": "Yes."}}
    (pair,) = pairs(write(record))
    assert pair.negative == Example("A?", "Yes.")
    assert pair.id == "set-1"


def test_splits_choose_lines_where_the_file_says_splits(write):
    path = write(
        {"id": "a", "prompt": "x", "split": "train"},
        {"id": "b", "prompt": "y", "split": "test"},
        {"id": "c", "prompt": "z"},
    )
    assert [item.id for item in prompt_set(path)] == ["b", "c"]
    assert [item.id for item in prompt_set(path, split="train")] == ["a", "c"]
    assert [item.id for item in prompt_set(path, split=None)] == ["a", "b", "c"]


def test_blank_lines_windows_ends_and_a_byte_order_mark_are_let_by(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "prompt": "x"}\r\n\r\n  \r\n{"prompt": "y"}\r\n')
    assert prompt_set(path) == [PromptItem("a", "x"), PromptItem("set-4", "y")]


def test_a_line_separator_inside_a_text_is_no_new_line(write):
    (item,) = prompt_set(write('{"id": "a", "prompt": "one\u2028two\x85three"}'))
    assert item.prompt == "one\u2028two\x85three"


def test_answers_are_letters_or_indices(write):
    path = write(QUESTION, QUESTION | {"id": "r", "answer": "d"})
    assert questions(path) == [
        Question("q", "s", "1+1?", ("1", "2", "3", "4"), 1),
        Question("r", "s", "1+1?", ("1", "2", "3", "4"), 3),
    ]


BAD_ANY = {
    "not JSON": ("{'id': 1}", "expected a JSON object, got text that is not JSON"),
    "cut short": ('{"id": "x", "prompt": "a', "not JSON"),
    "a list": ("[1, 2]", "expected a JSON object, got list"),
    "null": ("null", "expected a JSON object, got NoneType"),
    "a number of too many digits": ("1" * 5000, "not JSON"),
    "id of a wrong type": ({"id": 7, "prompt": "x"}, "expected 'id' as a string, got int"),
    "an id twice": ({"id": "good", "prompt": "x"}, "id 'good' stands already in line 1"),
    "a misspelt split": (
        {"id": "x", "prompt": "x", "split": "tset"},
        "'split' among .*, got 'tset'",
    ),
    "a split of a wrong type": ({"id": "x", "prompt": "x", "split": ["test"]}, "'split' among train, validation, test"),
}
BAD_PROMPT = {
    "no prompt": ({"id": "x"}, "expected 'prompt' as a non-empty string, got nothing"),
    "an empty prompt": ({"id": "x", "prompt": "  "}, "expected 'prompt' as a non-empty string, got '  '"),
    "a prompt of a wrong type": ({"id": "x", "prompt": ["a"]}, r"expected 'prompt' as a non-empty string, got \['a'\]"),
    "a category of a wrong type": ({"id": "x", "prompt": "a", "category": 3}, "expected 'category' as a string, got 3"),
    "half a character": ('{"id": "x", "prompt": "a\\ud800"}', "expected text, got half a character"),
}


@pytest.mark.parametrize(("line", "message"), (BAD_ANY | BAD_PROMPT).values(), ids=BAD_ANY | BAD_PROMPT)
def test_a_bad_prompt_line_is_told_with_file_and_number(write, line, message):
    path = write({"id": "good", "prompt": "fine"}, "", line)
    with pytest.raises(DataError, match=rf"set\.jsonl, line 3: .*{message}"):
        prompt_set(path)


def test_a_bad_line_of_another_split_is_told_too(write):
    path = write({"id": "a", "prompt": "x", "split": "test"}, {"id": "b", "split": "train"})
    with pytest.raises(DataError, match=r"set\.jsonl, line 2: expected 'prompt'"):
        prompt_set(path)


def changed(**sides):
    return {key: value for key, value in (PAIR | {"id": "x"} | sides).items() if value is not None}


@pytest.mark.parametrize(
    ("record", "contrast", "message"),
    [
        (
            changed(positive=None),
            "completion",
            "expected 'positive' as an object .*, got NoneType",
        ),
        (changed(negative="Yes."), "both", "expected 'negative' as an object .*, got str"),
        (changed(positive={"completion": "No."}), "prompt", "expected 'prompt' as a non-empty string, got nothing"),
        (changed(positive={"prompt": "Harm?", "completion": 5}), "both", "expected 'completion' as a string, got 5"),
        (changed(positive={"prompt": "Harm?"}), "completion", "expected a 'completion' on both sides .*'completion'"),
        (changed(negative={"prompt": "Help?"}), "both", "expected a 'completion' on both sides .*'both'"),
        (changed(compliance=None), "completion", "expected 'compliance' as a non-empty string, got nothing"),
        (changed(compliance=""), "completion", "expected 'compliance' as a non-empty string"),
        (changed(negative=PAIR["positive"]), "prompt", "expected two different examples for the contrast 'prompt'"),
        (changed(compliance="No."), "completion", "expected two different examples"),
    ],
)
def test_a_bad_pair_is_told_with_file_and_number(write, record, contrast, message):
    with pytest.raises(DataError, match=rf"set\.jsonl, line 2: .*{message}"):
        pairs(write(PAIR, record), contrast=contrast)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": "1234"}, "'choices' as a list of 2 to 10 non-empty strings, got '1234'"),
        ({"choices": ["1"]}, "'choices' as a list of 2 to 10 "),
        ({"choices": ["1", 2, "3", "4"]}, "'choices' as a list of 2 to 10 non-empty strings"),
        ({"choices": ["1", "", "3", "4"]}, "'choices' as a list of 2 to 10 non-empty strings"),
        ({"answer": 4}, "'answer' as an index from 0 to 3 or a letter, got 4"),
        ({"answer": -1}, "'answer' as an index from 0 to 3 or a letter, got -1"),
        ({"answer": "E"}, "'answer' as an index from 0 to 3 or a letter"),
        ({"answer": "AB"}, "'answer' as an index from 0 to 3 or a letter, got 'AB'"),
        ({"answer": ""}, "'answer' as an index"),
        ({"answer": True}, "'answer' as an index from 0 to 3 or a letter, got True"),
        ({"answer": None}, "'answer' as an index from 0 to 3 or a letter, got None"),
        ({"question": ""}, "'question' as a non-empty string"),
    ],
)
def test_a_bad_question_is_told_with_file_and_number(write, change, message):
    with pytest.raises(DataError, match=rf"set\.jsonl, line 2: .*{message}"):
        questions(write(QUESTION, QUESTION | {"id": "x"} | change))


def test_a_bad_passage_is_told_with_file_and_number(write):
    assert passages(write({"text": "Plain."}))[0].text == "Plain."
    with pytest.raises(DataError, match=r"set\.jsonl, line 1: expected 'text' as a non-empty string, got nothing"):
        passages(write({"prompt": "x"}))


@pytest.mark.parametrize("read", [pairs, prompt_set, questions, passages])
def test_a_missing_file_lists_the_built_in_sets(read, tmp_path):
    with pytest.raises(
        DataError, match=r"expected a JSONL file or a built-in set \(.+\), got '.*nowhere\.jsonl', which does not exist"
    ):
        read(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match=r"refusal|knowledge"):
        read("refusals")


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_file_is_refused(write, content):
    with pytest.raises(DataError, match=r"set\.jsonl: expected at least one item, got none"):
        prompt_set(write(content))


def test_an_empty_split_is_refused(write):
    with pytest.raises(DataError, match=r"set\.jsonl: expected at least one item of split 'test', got none"):
        prompt_set(write({"id": "a", "prompt": "x", "split": "train"}))


def test_what_is_not_text_is_refused(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\xff\xfe\x00bytes")
    with pytest.raises(DataError, match=r"set\.jsonl: cannot be read as UTF-8 text"):
        prompt_set(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a JSONL file"):
        prompt_set(tmp_path)


def test_an_unknown_contrast_is_refused(write):
    with pytest.raises(InputError, match="contrast among completion, prompt, both, got 'answers'"):
        pairs(write(PAIR), contrast="answers")


def test_the_hash_follows_content_and_order():
    a, b = PromptItem("a", "x"), PromptItem("b", "y")
    assert content_hash([a, b]) == content_hash([PromptItem("a", "x"), b])
    assert len({content_hash(items) for items in ([a, b], [b, a], [a], [a, PromptItem("b", "Y")])}) == 4
