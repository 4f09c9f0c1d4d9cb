"""The command bench selection: what it prints is what the rules chose, and a second run reads nothing."""

import json

import pytest
from sentences import refused

from steersman.selection.judged import read_sweeps
from steersman.selection.rules import RULES
from steersman.selection.signals import SIGNALS

MARKS = {"behaviour": [1, 4, 8, 9], "coherence": [10, 10, 9, 3]}
SWEEPS = [
    {
        "method": "mean",
        "concept": concept,
        "prompt": "I am",
        "coefficients": [0.0, 0.1, 0.2, 0.3],
        "completions": ["I am at home.", "I am out.", f"I am at {concept}.", "sea sea sea sea"],
        **MARKS,
    }
    for concept in ("the sea", "the hills")
]


@pytest.fixture
def bench(folder, tmp_path):
    """The command as it works."""
    sweeps = tmp_path / "sweeps.jsonl"
    sweeps.write_text("".join(json.dumps(sweep) + "\n" for sweep in SWEEPS))
    model = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    return ["bench", "selection", "--sweeps", sweeps, *model]


def test_help_shows_an_example_that_parses(steersman, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = steersman("bench", "selection", "--help")
    assert "Example: steersman bench selection --sweeps sweeps.jsonl --json" in " ".join(done.out.split())
    refused(steersman("bench", "selection", "--sweeps", "sweeps.jsonl", "--json"), r"sweeps\.jsonl")


def test_json_holds_every_rule_and_signal(steersman, bench, tmp_path):
    done = steersman(*bench, "--json", "--keep", tmp_path / "keep.jsonl")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["sweeps"] == 2
    names = [rule.name for rule in RULES.values() if set(rule.signals) <= set(SIGNALS)]
    assert [row["rule"] for row in printed["rules"]] == [*names, "coherence, held out", "default, held out"]
    assert set(printed["by_concept"]) == set(printed["held_out_constants"]) == {"the sea", "the hills"}
    assert set(printed["rank_correlations"]) == set(SIGNALS)
    sweeps = read_sweeps(tmp_path / "sweeps.jsonl")
    for row in printed["rules"]:
        chosen = printed["choices"][row["rule"]]
        marks = [
            sweep.coherence[sweep.coefficients.index(one["coefficient"])]
            for sweep, one in zip(sweeps, chosen, strict=True)
        ]
        assert row["coherence"]["value"] == pytest.approx(sum(marks) / 2)
        assert row["fired"] == sum(one["alarm"] is not None for one in chosen) / 2
    kept = (tmp_path / "keep.jsonl").read_bytes()
    assert json.loads(steersman(*bench, "--json", "--keep", tmp_path / "keep.jsonl").out) == printed
    assert (tmp_path / "keep.jsonl").read_bytes() == kept


def test_tables_say_the_same_for_people(steersman, bench):
    done = steersman(*bench)
    assert done.code == 0, done.err
    for words in ("All sweeps", "Concept: the sea", "score over best", "default, held out", "Rank correlation"):
        assert words in done.out


def test_bad_sweeps_are_one_sentence(steersman, bench, tmp_path):
    (tmp_path / "sweeps.jsonl").write_text(json.dumps({**SWEEPS[0], "coherence": [1, 2]}) + "\n")
    refused(steersman(*bench), r"as many of everything in .*sweeps\.jsonl, line 1")
    (tmp_path / "sweeps.jsonl").unlink()
    refused(steersman(*bench), r"sweeps\.jsonl")
