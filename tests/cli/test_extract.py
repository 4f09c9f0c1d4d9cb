"""`extract` from each of its sources: the file holds what the verbs fit, and a slip is one sentence."""

import json
import shutil

import pytest
from sentences import refused

from steersman.builders import behaviour_pairs, corpus, persona_pairs
from steersman.files import load_direction
from steersman.maths.geometry import cosine
from steersman.methods import METHODS, MeanDifference
from steersman.model.load import load
from steersman.prompts import Example, Pair, pairs
from steersman.recording import record, record_models, record_texts
from steersman.where import Site
from tiny import tiny_network, tokenizer

ITEMS = [
    {"question": f"Is {thing} so?\n (A) No.\n (B) Yes, it is.", "answer_matching_behavior": f" ({'AB'[i % 2]})"}
    | {"answer_not_matching_behavior": f" ({'BA'[i % 2]})"}
    for i, thing in enumerate(("this", "that", "it", "all", "any"))
]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture(scope="module")
def given(folder):
    """The folder with the files of every source, and a second model."""
    write_lines(folder / "items.jsonl", ITEMS)
    for name in ("code", "prose"):
        write_lines(folder / f"{name}.jsonl", [{"text": f"{name} {i} {'and more' * i}"} for i in range(1, 7)])
    tiny_network("llama", seed=1).save_pretrained(folder / "other")
    tokenizer(chat=True).save_pretrained(folder / "other")
    return folder


@pytest.fixture(scope="module")
def model(given):
    return load(str(given / "model"), dtype="float32", device="cpu")


@pytest.fixture
def extract(steersman, given, tmp_path):
    def call(*arguments, out="new.safetensors"):
        held = ["--out", tmp_path / out, "--model", given / "model", "--dtype", "float32", "--device", "cpu"]
        return steersman("extract", *held, *arguments)

    return call


@pytest.fixture
def fitted(extract):
    def call(*arguments):
        done = extract(*arguments, "--json")
        assert done.code == 0, done.err
        printed = json.loads(done.out)
        return printed, load_direction(printed["file"])

    return call


def same(held, wanted):
    assert held.sites == wanted.sites
    assert held.origin == wanted.origin
    for site in held.sites:
        assert cosine(held.vectors[site], wanted.vectors[site]) == pytest.approx(1, abs=1e-5)


def test_a_concept_makes_the_persona_pairs(fitted, model):
    printed, held = fitted("--concept", "merry", "--opposite", "sad", "--limit", 12, "--seed", 2)
    made = persona_pairs("merry", "sad", limit=12, seed=2)
    same(held, MeanDifference().fit(record(model, made, span="end")))
    assert (printed["of"], held.origin.span) == ("12 pairs", "end")


def test_without_a_chat_template_a_space_stands_before_the_statement(fitted, given, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(given / "model", folder)
    tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    _, held = fitted("--concept", "merry", "--opposite", "sad", "--limit", 4, "--model", folder)
    plain = load(str(folder), dtype="float32", device="cpu")
    same(held, MeanDifference().fit(record(plain, persona_pairs("merry", "sad", limit=4, lead=" "), span="end")))


def test_two_words_are_one_pair_of_plain_texts(fitted, model):
    printed, held = fitted("--words", "Love", "Hate to")
    made = [Pair("words", Example("", "Love"), Example("", "Hate to"))]
    same(held, MeanDifference().fit(record(model, made, span="end")))
    assert (printed["of"], printed["layers"][0]["separation"]) == ("1 pair", None)


@pytest.mark.parametrize(("form", "span"), [("letter", "end"), ("text", "completion")])
def test_items_are_read_at_the_answer(fitted, given, model, form, span):
    _, held = fitted("--items", given / "items.jsonl", *([] if form == "letter" else ["--answer", form]))
    made = behaviour_pairs(given / "items.jsonl", form=form)
    same(held, MeanDifference().fit(record(model, made, span=span)))


def test_built_in_items_are_given_by_name(fitted, model):
    printed, held = fitted("--items", "risk-taking", "--answer", "text", "--limit", 6)
    made = behaviour_pairs("risk-taking", form="text", limit=6)
    same(held, MeanDifference().fit(record(model, made, span="completion")))
    assert printed["of"] == "6 pairs"


def test_two_corpora(fitted, given, model):
    printed, held = fitted("--positive", given / "code.jsonl", "--negative", given / "prose.jsonl", "--limit", 5)
    sides = [corpus(given / f"{name}.jsonl", limit=5) for name in ("code", "prose")]
    same(held, MeanDifference().fit(record_texts(model, *sides, span="all-bos")))
    assert printed["of"] == "5 against 5 texts"


def test_two_models(fitted, given, model):
    printed, held = fitted("--against-model", given / "other", "--texts", given / "prose.jsonl", "--span", "last")
    other = load(str(given / "other"), dtype="float32", device="cpu")
    same(held, MeanDifference().fit(record_models(model, other, corpus(given / "prose.jsonl"), span="last")))
    assert printed["of"] == "6 texts in two models"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_name(fitted, given, model, method):
    printed, held = fitted("--pairs", given / "pairs.jsonl", "--method", method, "--layer", "0.5")
    wanted = METHODS[method]().fit(record(model, pairs(given / "pairs.jsonl"), layers=[2]))
    same(held, wanted)
    assert printed["method"] == wanted.method


@pytest.mark.parametrize(
    ("arguments", "sites"),
    [
        (["--layer", "1,-1"], [Site(1), Site(3)]),
        (["--layer", "0", "--layer", "2:"], [Site(0), Site(2), Site(3)]),
        (["--layer", "0.5:1.0"], [Site(2), Site(3)]),
        (["--layer", "all", "--point", "mlp_out"], [Site(layer, "mlp_out") for layer in range(4)]),
        (["--layer", "1", "--point", "resid_pre", "--point", "attn_out"], [Site(1, "resid_pre"), Site(1, "attn_out")]),
        (["--layer", "1", "--point", "head"], [Site(1, "head", head) for head in range(4)]),
    ],
)
def test_layers_and_points(fitted, given, arguments, sites):
    printed, held = fitted("--pairs", given / "pairs.jsonl", *arguments)
    assert held.sites == sites
    assert [row["site"] for row in printed["layers"]] == [str(site) for site in sites]


def test_masking_takes_the_largest_coordinates_out(fitted, given):
    _, held = fitted("--pairs", given / "pairs.jsonl", "--mask-massive", 3)
    assert all(int((vector == 0).sum()) == 3 for vector in held.vectors.values())


def test_a_limit_on_pairs_draws_some(fitted, given):
    printed, held = fitted("--pairs", given / "pairs.jsonl", "--limit", 4)
    assert (printed["of"], held.origin.n) == ("4 pairs", 4)


def test_for_people_a_site_that_is_no_block_s_output_is_named_in_full(extract, given):
    done = extract("--pairs", given / "pairs.jsonl", "--layer", "1", "--point", "resid_pre", "--point", "resid_post")
    assert done.code == 0
    assert " resid_pre.1 " in done.out
    assert "resid_post" not in done.out


ONE_SOURCE = r"expected exactly one source of texts \(--pairs; --concept with --opposite; --words; --items; .*\), got "


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], ONE_SOURCE + "none"),
        (["--limit", "3"], ONE_SOURCE + "none"),
        (["--pairs", "refusal", "--words", "a", "b"], ONE_SOURCE + "--pairs and --words"),
        (["--texts", "x", "--positive", "y"], ONE_SOURCE + "--positive and --against-model"),
        (["--concept", "merry"], "expected --opposite beside --concept, got nothing"),
        (["--opposite", "sad"], "expected --concept beside --opposite, got nothing"),
        (["--positive", "x"], "expected --negative beside --positive, got nothing"),
        (["--texts", "x"], "expected --against-model beside --texts, got nothing"),
        (["--words", "Love"], "'--words' requires 2 arguments"),
        (["--words", "Love", "Love"], "expected two different words for --words, got 'Love' and 'Love'"),
        (["--words", "Love", " "], "expected two different words for --words, got 'Love' and ' '"),
        (
            ["--concept", "a", "--opposite", "A"],
            "expected a concept and another word for its opposite, got 'a' and 'A'",
        ),
        (["--words", "a", "b", "--limit", "3"], "expected options that go with --words, got --limit"),
        (["--words", "a", "b", "--contrast", "both"], "expected options that go with --words, got --contrast"),
        (["--pairs", "refusal", "--answer", "text"], "expected options that go with --pairs, got --answer"),
        (["--pairs", "refusal", "--limit", "0"], "Invalid value for '--limit'"),
        (["--pairs", "refusal", "--method", "best"], "expected --method to be one of mean_difference, .*, got 'best'"),
        (["--pairs", "refusal", "--point", "middle"], "expected --point to be one of resid_pre, .*, got 'middle'"),
        (["--pairs", "refusal", "--layer", "9"], "expected a layer from -4 to 3, got 9"),
        (["--pairs", "refusal", "--layer", "3:2"], "expected a range of layers that holds one, got '3:2'"),
        (["--pairs", "refusal", "--mask-massive", "0"], "Invalid value for '--mask-massive'"),
        (["--items", "none.jsonl"], r"expected a JSONL file of questions or a built-in set .*, got 'none\.jsonl'"),
        (["--positive", "none", "--negative", "x"], "expected at least one text in 'none', got none"),
        (["--concept", "a", "--opposite", "b", "--span", "middle"], "expected a span among .*, got 'middle'"),
    ],
)
def test_a_slip_is_said_in_a_line(extract, tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    refused(extract(*arguments), match)
    assert list(tmp_path.iterdir()) == []


def test_items_that_list_no_options_have_no_text(extract, given):
    write_lines(given / "bare.jsonl", [ITEMS[0] | {"question": "Is it so?"}])
    done = extract("--items", given / "bare.jsonl", "--answer", "text")
    refused(done, r"bare\.jsonl, line 1: expected a question that lists the option '\(A\)'")


def test_two_models_of_other_shapes_are_said(extract, given, tmp_path):
    tiny_network("llama", depth=2).save_pretrained(tmp_path / "small")
    tokenizer(chat=True).save_pretrained(tmp_path / "small")
    done = extract("--against-model", tmp_path / "small", "--texts", given / "prose.jsonl")
    assert done.code == 2
    assert "expected two models of one shape, got width 32 and 4 layers against 32 and 2" in done.err
