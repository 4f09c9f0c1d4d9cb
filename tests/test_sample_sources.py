"""Sources of every kind become the same items; the fields may be called as the well-known sets call them."""

import csv
import importlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from steersman.builders import behaviour_pairs
from steersman.errors import DataError, InputError
from steersman.prompts import Passage, PromptItem, Question, passages, prompt_set, questions
from steersman.samples import behaviour_items, example_items, prompt_items, question_items, text_items

DATA = Path(os.environ.get("STEERSMAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
SUMS = Question("", "sums", "What is 1 + 1,\nin words?", ("one", 'the "two"', "three", "four"), 1)
CITIES = Question("", "cities", "Which city is on the Seine?", ("Rome", "Oslo", "Bonn", "Paris"), 3)
RECORDS = [{"question": q.question, "choices": list(q.choices), "answer": q.answer} for q in (SUMS, CITIES)]
MATCHING = {
    "question": "Do you like tea?\n\nChoices:\n (A) Yes\n (B) No\n\nI choose (",
    "answer_matching_behavior": " (A)",
    "answer_not_matching_behavior": " (B)",
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    """Leave nothing in the user's cache of data sets."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    return datasets


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def table(path, *rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def original(path, *items):
    """Write questions as MMLU is distributed: no header, the right one's letter last."""
    return table(path, *([q.question, *q.choices, "ABCD"[q.answer]] for q in items))


def contents(items):
    """Return the questions without what depends on where they stand."""
    return [replace(item, id="", subject="") for item in items]


# Forms of a file.


def as_lines(path):
    return lines(path / "q.jsonl", *RECORDS)


def as_array(path):
    (path / "q.json").write_text(json.dumps(RECORDS, indent=1))
    return path / "q.json"


def as_lines_called_json(path):
    return lines(path / "q.json", *RECORDS)


def as_table_of_columns(path):
    rows = [[q.question, *q.choices, "ABCD"[q.answer]] for q in (SUMS, CITIES)]
    return table(path / "q.csv", ["question", "A", "B", "C", "D", "answer"], *rows)


def as_table_of_lists(path):
    rows = [[str(q.answer), json.dumps(q.choices), q.question] for q in (SUMS, CITIES)]
    return table(path / "q.tsv", ["answer", "choices", "question"], *rows, delimiter="\t")


def as_original(path):
    return original(path / "q.csv", SUMS, CITIES)


def as_data_set(path):
    folder = path / "set"
    folder.mkdir()
    lines(folder / "test.jsonl", *RECORDS)
    return f"hub:{folder}"


FORMS = [
    *(as_lines, as_array, as_lines_called_json, as_table_of_columns, as_table_of_lists, as_original, as_data_set),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_source_holds_the_same_questions(form, tmp_path):
    found = question_items(form(tmp_path))
    assert contents(found) == contents([SUMS, CITIES])
    assert len({item.id for item in found}) == 2
    (tmp_path / "again").mkdir()
    assert question_items(form(tmp_path / "again")) == found  # ids do not depend on the folder


@pytest.mark.parametrize("name", ["harmful", "ordinary", "over-refusal"])
def test_built_in_prompts_are_those_of_the_sets_themselves(name):
    assert prompt_items(name) == prompt_set(name)
    assert prompt_items(name, split=None) == prompt_set(name, split=None)


def test_built_in_questions_and_texts_are_those_of_the_sets_themselves():
    assert question_items() == questions()
    assert text_items() == passages()


def test_a_row_of_several_lines_counts_from_its_first(tmp_path):
    path = original(tmp_path / "sums_test.csv", SUMS, CITIES)
    assert [item.id for item in question_items(path)] == ["sums_test-1", "sums_test-3"]
    assert [item.subject for item in question_items(path)] == ["sums", "sums"]


def test_a_record_keeps_its_own_id_also_a_number(tmp_path):
    path = lines(tmp_path / "p.jsonl", {"id": "own", "prompt": "a"}, {"id": 7, "prompt": "b"}, {"prompt": "c"})
    assert [item.id for item in prompt_items(path)] == ["own", "7", "p-3"]


# Folders.


@pytest.fixture
def distribution(tmp_path):
    """MMLU's folder: all splits beside one another."""
    for subject, item in (("sums", SUMS), ("world_cities", CITIES)):
        for split in ("test", "val", "dev"):
            original(tmp_path / f"{subject}_{split}.csv", replace(item, question=f"{split}: {item.question}"))
    return tmp_path


def test_a_folder_gives_its_split_with_the_subject_from_the_file(distribution):
    for split, word in (("test", "test"), ("validation", "val")):
        found = question_items(distribution, split=split)
        assert [item.subject for item in found] == ["sums", "world_cities"]
        assert all(item.question.startswith(f"{word}: ") for item in found)
    assert len(question_items(distribution, split=None)) == 6
    assert [item.question[:5] for item in example_items(distribution)] == ["dev: "] * 2


def test_a_folder_of_folders_gives_the_split_s_own(tmp_path):
    for split in ("test", "dev"):
        (tmp_path / split).mkdir()
        original(tmp_path / split / f"sums_{split}.csv", replace(SUMS, question=split))
    assert [(item.question, item.subject) for item in question_items(tmp_path)] == [("test", "sums")]
    assert [item.question for item in example_items(tmp_path)] == ["dev"]


def test_a_folder_without_the_split_is_refused(distribution):
    with pytest.raises(
        DataError, match=r"expected CSV files of the split 'train', such as anatomy_train\.csv, got none"
    ):
        question_items(distribution, split="train")


def test_examples_stand_beside_the_file_or_in_its_validation_split(tmp_path):
    lines(tmp_path / "dev.jsonl", RECORDS[1])
    assert contents(example_items(lines(tmp_path / "test.jsonl", RECORDS[0]))) == contents([CITIES])
    mixed = lines(
        tmp_path / "mixed.jsonl", *({**r, "split": s} for r, s in zip(RECORDS, ("validation", "test"), strict=True))
    )
    assert contents(example_items(mixed)) == contents([SUMS])
    asked = {item.id for item in question_items("knowledge")}
    assert not asked & {item.id for item in example_items("knowledge")}


def test_a_file_without_examples_says_so(tmp_path):
    path = lines(tmp_path / "alone.jsonl", *RECORDS)
    with pytest.raises(DataError, match=r"expected examples that belong to '.*alone\.jsonl'; give their file"):
        example_items(path)


# Fields.


@pytest.mark.parametrize(
    ("record", "prompt", "category"),
    [
        ({"prompt": "Bake?", "category": "food"}, "Bake?", "food"),
        ({"goal": "Bake", "target": "Sure, here is"}, "Bake", ""),  # AdvBench
        ({"Index": 3, "Goal": "Bake", "Behavior": "Baking", "Category": "Food"}, "Bake", "Food"),  # JailbreakBench
        ({"Behavior": "Bake", "SemanticCategory": "food"}, "Bake", "food"),  # HarmBench
        ({"instruction": "Name one.", "input": "", "output": "Bread"}, "Name one.", ""),  # Alpaca
        ({"instruction": "Name one.", "input": "bread, tea"}, "Name one.\n\nbread, tea", ""),
        ({"question": "Why?", "best_answer": "So."}, "Why?", ""),  # TruthfulQA
    ],
)
def test_prompts_stand_where_the_well_known_sets_have_them(tmp_path, record, prompt, category):
    assert prompt_items(lines(tmp_path / "p.jsonl", record)) == [PromptItem("p-1", prompt, category)]
    cells = table(tmp_path / "p.csv", list(record), list(record.values()))
    assert prompt_items(cells) == [PromptItem("p-2", prompt, category)]  # the header is line 1


def test_a_text_file_holds_a_prompt_a_line(tmp_path):
    (tmp_path / "p.txt").write_text("Bake?\n\n Boil?\n")
    assert prompt_items(tmp_path / "p.txt") == [PromptItem("p-1", "Bake?"), PromptItem("p-3", "Boil?")]


def test_behaviour_items_are_the_builder_s_pairs(tmp_path):
    path = lines(tmp_path / "b.jsonl", MATCHING, MATCHING)
    assert behaviour_items(path) == behaviour_pairs(path, split=None)
    (one,) = behaviour_items(table(tmp_path / "one.csv", list(MATCHING), list(MATCHING.values())))
    assert (one.positive.completion, one.negative.completion) == ("(A", "(B")


def test_texts_stand_in_text_content_or_code(tmp_path):
    path = lines(tmp_path / "t.jsonl", {"text": "Add two.", "code": "a + b"}, {"content": "Plain."}, {"code": "c"})
    assert [item.text for item in text_items(path)] == ["Add two.", "Plain.", "c"]
    assert [item.text for item in text_items(lines(path, {"text": "Add.", "code": "a + b"}), field="code")] == ["a + b"]
    assert text_items(lines(path, {"text": "Add two."}), chars=3) == [Passage("t-1", "Add")]


def test_plain_text_is_cut_at_blank_lines_or_by_length(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"One line.\r\nIts second.\r\n \r\nHeading\n\n\n\nThe last piece.\n")
    assert [item.text for item in text_items(path)] == ["One line.\nIts second.", "The last piece."]
    pieces = text_items(path, chars=12)
    assert all(0 < len(item.text) <= 12 for item in pieces)
    assert "".join("".join(item.text.split()) for item in pieces) == "".join(path.read_text().split())
    (tmp_path / "program.py").write_text("a = 1\n\nb = 2\n")
    assert text_items(tmp_path / "program.py") == [Passage("program-1", "a = 1\n\nb = 2")]


# What cannot be used is told with its place.


def bad_array(path):
    (path / "q.json").write_text(json.dumps([*RECORDS, "text"]))
    return path / "q.json"


def bad_json(path):
    (path / "q.json").write_text("[{]")
    return path / "q.json"


def half_character(path):
    (path / "q.json").write_text('[{"question": "\\ud800"}]')
    return path / "q.json"


def bad_cells(path):
    return table(path / "q.csv", ["question", "A", "B", "answer"], ["Why?", "a", "b", "A"], ["Why?", "a", "b"])


def bad_quote(path):
    (path / "q.csv").write_text('question,A,B,answer\nWhy?,"a"x,b,A\n')
    return path / "q.csv"


def column_twice(path):
    return table(path / "q.csv", ["question", "A", "A"], ["Why?", "a", "b"])


def no_header(path):
    return table(path / "q.csv", ["Why?", "a", "b", "because"])


def letter_too_far(path):
    return original(path / "q.csv", SUMS, CITIES, replace(SUMS, choices=("a", "b")), replace(SUMS, choices=("a",)))


def bad_answer(path):
    return lines(path / "q.jsonl", RECORDS[0], RECORDS[1] | {"answer": 9})


def bad_list(path):
    return table(path / "q.csv", ["question", "choices", "answer"], ["Why?", "[one", "A"])


def no_field(path):
    return lines(path / "q.jsonl", {"query": "Why?", "reply": "So."})


def an_id_twice(path):
    return table(path / "q.csv", ["id", "question", "A", "B", "answer"], *[["x", "Why?", "a", "b", "A"]] * 2)


BAD = {
    bad_array: r"q\.json, item 3: expected a JSON object, got str",
    bad_json: r"q\.json: expected a JSON array of objects, got text that is not JSON",
    half_character: r"q\.json, item 1: expected text, got half a character",
    bad_cells: r"q\.csv, line 3: expected 4 cells as in the header, got 3",
    bad_quote: r"q\.csv, line 2: expected a row of a table, got",
    column_twice: r"q\.csv, line 1: expected every column once, got 'A' twice",
    no_header: r"q\.csv, line 1: expected a header .*, got 4 cells that end in 'because'",
    letter_too_far: r"q\.csv, line 6: expected a header .*, got 3 cells that end in 'B'",
    bad_answer: r"q\.jsonl, line 2: expected 'answer' as an index from 0 to 3 or a letter, got 9",
    bad_list: r"q\.csv, line 2: expected 'choices' as a JSON list of strings, got '\[one'",
    no_field: r"q\.jsonl, line 1: expected 'choices' as a list",
    an_id_twice: r"q\.csv, line 3: id 'x' stands already in line 2",
}


@pytest.mark.parametrize(("write", "message"), BAD.items(), ids=[each.__name__ for each in BAD])
def test_a_bad_record_is_told_with_its_place(write, message, tmp_path):
    with pytest.raises(DataError, match=message):
        question_items(write(tmp_path))


def test_an_id_of_another_file_is_told_with_that_file(tmp_path):
    for name in ("a", "b"):
        table(tmp_path / f"{name}.csv", ["id", "prompt"], ["x", "Why?"])
    with pytest.raises(DataError, match=r"b\.csv, line 2: id 'x' stands already in .*a\.csv, line 2"):
        prompt_items(tmp_path)


def test_a_record_without_a_prompt_is_told_with_what_it_has(tmp_path):
    path = lines(tmp_path / "p.jsonl", {"query": "Why?", "reply": "So."})
    with pytest.raises(DataError, match=r"line 1: expected one of the fields 'prompt', 'goal', .* got query, reply"):
        prompt_items(path)
    with pytest.raises(DataError, match=r"line 1: expected one of the fields 'text', 'content', 'code'"):
        text_items(path)


@pytest.mark.parametrize("read", [prompt_items, question_items, behaviour_items, text_items])
def test_a_source_that_is_not_there_says_what_there_could_be(read, tmp_path):
    known = "myopia" if read is behaviour_items else "harmful"
    match = rf"built-in set \(.*{known}, .*\), a JSONL, JSON, CSV or TSV file, .* hub:owner/name, got '.*nowhere'"
    with pytest.raises(DataError, match=match):
        read(tmp_path / "nowhere")


def test_a_text_of_single_words_and_a_length_below_one_are_refused(tmp_path):
    (tmp_path / "t.txt").write_text("One\n\nTwo\n")
    with pytest.raises(DataError, match=r"t\.txt: expected at least one text of two words, got none"):
        text_items(tmp_path / "t.txt")
    with pytest.raises(DataError, match="line 1: expected texts of at least 1 character, got 0"):
        text_items(lines(tmp_path / "t.jsonl", {"text": "a"}), chars=0)


# The hub, through the package `datasets` on folders of this machine.


@pytest.fixture
def data_set(tmp_path):
    """A data set of two splits, as `datasets.load_dataset` reads a folder."""
    folder = tmp_path / "animals"
    folder.mkdir()
    lines(folder / "train.jsonl", {"goal": "Feed the cat.", "split": "easy"})
    lines(folder / "test.jsonl", {"goal": "Walk the dog.", "split": "easy"}, {"goal": "Wash the dog.", "split": "hard"})
    return f"hub:{folder}"


def test_a_data_set_gives_the_split_it_is_asked_for(data_set):
    tests = [PromptItem("animals-test-1", "Walk the dog."), PromptItem("animals-test-2", "Wash the dog.")]
    train = [PromptItem("animals-train-1", "Feed the cat.")]
    assert prompt_items(data_set) == tests
    assert prompt_items(data_set, split="train") == train
    assert prompt_items(f"{data_set}@train") == train
    assert sorted(item.id for item in prompt_items(data_set, split=None)) == [i.id for i in (*tests, *train)]


def test_the_only_split_of_a_data_set_is_taken(tmp_path):
    lines(tmp_path / "train.jsonl", {"instruction": "Feed the cat."})
    assert [item.prompt for item in prompt_items(f"hub:{tmp_path}")] == ["Feed the cat."]


def test_examples_of_a_data_set_are_its_dev_split(tmp_path):
    lines(tmp_path / "test.jsonl", RECORDS[0])
    lines(tmp_path / "dev.jsonl", RECORDS[1])
    assert {item.question for item in question_items(f"hub:{tmp_path}")} == {SUMS.question}
    assert {item.question for item in example_items(f"hub:{tmp_path}@test")} == {CITIES.question}


def test_a_split_that_a_data_set_has_not_lists_its_own(data_set):
    with pytest.raises(DataError, match=r"expected one of the splits train, test, got 'dev'; .*animals@train"):
        prompt_items(f"{data_set}@dev")


def test_a_bad_record_of_a_data_set_is_told_with_its_row(tmp_path):
    lines(tmp_path / "test.jsonl", {"goal": "Feed the cat."}, {"goal": " "})
    with pytest.raises(DataError, match=r"row 2 of test: expected 'goal' as a non-empty string"):
        prompt_items(f"hub:{tmp_path}")


@pytest.mark.parametrize(
    "source", ["hub:", "hub:mmlu", "hub:cais/", "hub:cais/mmlu/all/x", "hub:ca is/mmlu", "hub:a/b@"]
)
def test_a_misspelt_name_is_refused(source):
    with pytest.raises(InputError, match=r"expected hub:owner/name, .* got 'hub:"):
        prompt_items(source)


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence(monkeypatch, cache):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(cache.config, "HF_HUB_OFFLINE", True)
    match = r"^hub:nobody/nothing@test: the Hugging Face hub cannot be reached, and nobody/nothing is not in its cache"
    with pytest.raises(DataError, match=match):
        prompt_items("hub:nobody/nothing@test")


def test_a_missing_extra_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"expected the package datasets .* pip install 'steersman\[hub\]'"):
        prompt_items("hub:cais/mmlu")


# Real sets, where they are there.


@pytest.mark.skipif(not DATA.is_dir(), reason="no evaluation data; set STEERSMAN_DATA to their folder")
def test_real_sets_are_read_whole():
    assert len(question_items(DATA / "mmlu" / "test.jsonl")) == 2_000
    assert len(example_items(DATA / "mmlu" / "test.jsonl")) == 145
    assert len(prompt_items(DATA / "safety" / "jailbreakbench.jsonl")) == 100
    assert len(text_items(DATA / "code" / "mbpp.jsonl", field="code")) == 974
    for path in sorted((DATA / "behaviours").glob("*.jsonl")):
        assert len(behaviour_items(path)) >= 985


def test_a_gap_among_a_tables_choices_does_not_shift_the_letters(tmp_path):
    header = ["question", "A", "B", "C", "D", "answer"]
    (item,) = question_items(table(tmp_path / "short.csv", header, ["Why?", "one", "two", "three", "", "C"]))
    assert (item.choices, item.answer) == (("one", "two", "three"), 2)
    with pytest.raises(DataError, match=r"gap\.csv, line 2: expected 'choices' as a list of 2 to 10 non-empty strings"):
        question_items(table(tmp_path / "gap.csv", header, ["Why?", "one", "", "three", "four", "C"]))
