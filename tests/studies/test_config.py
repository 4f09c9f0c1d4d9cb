"""A study's configuration: the shipped file is valid, changes are laid over it, mistakes name file and field."""

import pytest
import yaml

from steersman.errors import InputError
from steersman.studies import read_config


def test_the_shipped_study_is_valid_and_sweeps_raw_units_from_minus_two_to_two():
    config = read_config("refusal")
    assert config.mode == "quick"
    assert min(config.sweep.raw) == -2
    assert max(config.sweep.raw) == 2
    assert 0 not in config.sweep.raw


def test_full_lays_its_section_over_the_rest():
    quick, full = read_config("refusal"), read_config("refusal", full=True)
    assert full.mode == "full"
    assert len(full.sweep.raw) > len(quick.sweep.raw)
    assert full.limits.knowledge is None
    assert full.selection.budget == quick.selection.budget


def test_overrides_and_sets_replace_what_they_name():
    config = read_config(
        "refusal",
        overrides={"model": "other", "sweep.raw": [1.0, 0.0], "seed": None},
        sets={"harmful": "mine.jsonl", "refusal-pairs": "pairs.jsonl"},
    )
    assert config.model == "other"
    assert config.sweep.raw == [1.0]
    assert config.seed == 0
    assert config.sets["harmful"] == "mine.jsonl"
    assert config.directions.refusal.pairs == "pairs.jsonl"
    assert config.directions.refusal.opening_tokens == 8


def test_a_configuration_survives_its_own_plain_form(tmp_path):
    plain = read_config("refusal", full=True).plain()
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert read_config(path).plain() == plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("selection: {budget: over-refusal=2}", r"selection\.budget: .*at least 0 and at most 1 share"),
        ("selection: {honesty_budget: much}", r"selection\.honesty_budget: .*expected a budget such as .*'much'"),
        ("selection: {budget: 0.05}", r"selection\.budget: expected a budget such as kl=0\.5\S*, got 0\.05$"),
        ("selection: {coefficients: [0.3]}", r"selection\.coefficients: expected a field that a refusal study has"),
        ("selection: {coefficient: 0}", r"selection\.coefficient: Input should be greater than 0, got 0$"),
        ("selection: {rule: loudest}", r"selection\.rule: .*expected a rule among .*'loudest'"),
        ("seeed: 1", "seeed: expected a field that a refusal study has"),
        ("sweep: {raw: [.nan]}", r"sweep\.raw\.0: .*finite"),
        ("sets: {harmful: a.jsonl, cats: b.jsonl}", "expected the sets harmful"),
        ("limits: {harmful: 0}", r"limits\.harmful: .*greater than or equal to 1"),
        ("study: cooking", "study: expected a kind of study among .*refusal.*, got 'cooking'"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, change, words):
    whole = read_config("refusal").plain() | yaml.safe_load(change)
    if change.startswith(("selection", "limits", "sweep")):
        name, fields = next(iter(yaml.safe_load(change).items()))
        whole = read_config("refusal").plain()
        whole[name] |= fields
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_config(path)
    assert "study.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("- a\n- b\n", "as a YAML mapping, got list"), ("a: [1\n", "cannot be read as such")],
)
def test_what_is_no_study_is_refused(tmp_path, text, words):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_config(path)


def test_an_unknown_study_and_an_unknown_set_say_what_there_is():
    known = r"\(behaviours, refusal, skills\)"
    with pytest.raises(InputError, match=rf"expected a study {known} or the path of a YAML file, got 'nothing'"):
        read_config("nothing")
    with pytest.raises(InputError, match=r"expected a set among harmful, .*honesty-pairs before the '=', got 'cats'"):
        read_config("refusal", sets={"cats": "a.jsonl"})
