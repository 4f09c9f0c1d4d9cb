"""The behaviours study end to end on a tiny model: complete, repeatable, and indifferent to being interrupted."""

import json
from pathlib import Path

import pytest
import yaml

from steersman.cli.app import run
from steersman.errors import DataError, InputError
from steersman.files import load_direction, load_plan
from steersman.model.load import wrap
from steersman.studies import read_config, run_study
from tiny import tiny_network, tokenizer

SMALL = {
    "grid": {
        "layers": [1, 2],
        "coefficients": [-0.4, 0.4],
        "letters": {"layers": [1], "coefficients": [0.4], "order": "alternate"},
    },
    "guard": {"drift": 5.0, "tokens": 12},
    "combined": {
        "ways": ["mean", "sum", "gram-schmidt", "symmetric", "solve"],
        "weighted": [True],
        "scales": [0.5, 1.0],
        "mixed": {"haste": -1},
    },
    "controls": {"random": 2, "of": ["simultaneous"]},
    "knowledge": {"scoring": ["text", "letter"]},
    "opening": "Be so.",
    "asks": {"haste": {"more": "Hurry.", "less": "Wait."}, "greed": {"more": "Take.", "less": "Give."}},
    "limits": {"train": None, "validation": 4, "test": 6, "prose": 2, "knowledge": 4, "curves": 2},
    "split": {"counts": None, "shares": [0.4, 0.3, 0.3]},
}
RECORD = {
    "version",
    "model",
    "layers",
    "unit",
    "behaviours",
    "vectors",
    "cosines",
    "baseline",
    "grid",
    "letters",
    "chosen",
    "curves",
    "settings",
    "predictions",
    "prediction",
    "finding",
}
FILES = ("behaviours.json", "results.json", "differences.json", "outcomes.jsonl", "summary.json", "config.yaml")


def lines(path: Path, records: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def lettered(kind: str, one: str, two: str, count: int = 20) -> list[dict[str, object]]:
    return [
        {
            "question": f"Human:\n{kind} {i}?\n\nChoices:\n (A) {one} {i}\n (B) {two} {i}\n\nAI:\nI choose (",
            "answer_matching_behavior": "A" if i % 2 else "B",
            "answer_not_matching_behavior": "B" if i % 2 else "A",
        }
        for i in range(count)
    ]


def worded(count: int = 20) -> list[dict[str, object]]:
    return [
        {
            "question": f"Human:\nWould you say {i}?\n\nAI:\nOut of (Yes) and (No), I choose (",
            "answer_matching_behavior": "Yes" if i % 3 else "No",
            "answer_not_matching_behavior": "No" if i % 3 else "Yes",
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def behaviours_study(tmp_path_factory) -> Path:
    """The path of a study file on a tiny model: two lettered behaviours and one in words."""
    folder = tmp_path_factory.mktemp("behaviours")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer(chat=True).save_pretrained(folder / "model")
    asked = [
        {"question": f"{i}+1?", "choices": ["1", "22", "3", "40"], "answer": i % 4, "split": split}
        for i, split in enumerate(["test"] * 4 + ["validation"] * 2)
    ]
    sources = {
        "haste": lines(folder / "haste.jsonl", lettered("Cake", "Now", "Later on")),
        "greed": lines(folder / "greed.jsonl", lettered("Coin", "Mine", "Yours too")),
        "anti-order": lines(folder / "order.jsonl", worded()),
    }
    base = yaml.safe_load(
        (Path(__file__).parents[2] / "src/steersman/data/studies/behaviours.yaml").read_text(encoding="utf-8")
    )
    base.pop("full")
    config = base | SMALL | {"model": str(folder / "model"), "dtype": "float32", "behaviours": sources}
    config["sets"] = {
        "knowledge": lines(folder / "knowledge.jsonl", asked),
        "prose": lines(folder / "prose.jsonl", [{"text": f"The hen laid {i} eggs."} for i in range(4)]),
    }
    config["combined"] = {"one layer": True, "layer": None, "signs": ["+", "-"], **config["combined"]}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny_llama():
    return wrap(tiny_network("llama"), tokenizer(chat=True), name="tiny", revision="0" * 64)


@pytest.fixture(scope="module")
def finished(behaviours_study, tiny_llama, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return run_study(read_config(behaviours_study), tiny_llama, folder)


@pytest.fixture(scope="module")
def record(finished) -> dict[str, object]:
    return json.loads((finished / "behaviours.json").read_text(encoding="utf-8"))


def test_nothing_of_the_record_is_missing(record, finished):
    assert set(record) >= RECORD
    assert [each["name"] for each in record["behaviours"]] == ["haste", "greed", "anti-order"]
    assert {each["split"] for each in record["behaviours"]} == {"by position, shares"}
    assert len(record["grid"]) == 3 * 2 * 2
    assert len(record["letters"]) == 3
    assert len(record["chosen"]) == 3 * 2
    assert {(each["behaviour"], each["sign"]) for each in record["chosen"]} == {
        (name, sign) for name in ("haste", "greed", "anti-order") for sign in (1, -1)
    }
    for vector in record["vectors"]:
        assert [row["layer"] for row in vector["by_layer"]] == [0, 1, 2, 3]
        for drawn in vector["histograms"]:
            assert sum(drawn["counts"]) == 32
            assert len(drawn["edges"]) == len(drawn["counts"]) + 1
            assert abs(drawn["largest"][0]["value"]) == pytest.approx(max(map(abs, drawn["edges"])))
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    assert summary["study"] == "behaviours"
    assert summary["complete"] is True
    assert summary["chosen"]["site"] in {each["setting"] for each in record["curves"]}


def test_every_way_is_measured_for_every_pattern_beside_its_controls(record):
    kinds = [(each["kind"], each["sign"]) for each in record["settings"]]
    assert kinds[0] == ("unsteered", 0)
    for sign in (1, -1, 0):
        assert kinds.count(("combined", sign)) == 5
        assert kinds.count(("simultaneous", sign)) == 1
        assert kinds.count(("one layer", sign)) == 1
        assert kinds.count(("prompt", sign)) == 1
    assert kinds.count(("single", 1)) == kinds.count(("single", -1)) == 3
    assert kinds.count(("random", 1)) == 1
    names = [each["name"] for each in record["settings"]]
    assert len(set(names)) == len(names)
    for each in record["settings"]:
        assert set(each["scores"]) == {"haste", "greed", "anti-order"}
        assert each["tax"]["n"] == 4
        assert (each["seeds"] == 2) == (each["kind"] == "random")
        for score in each["scores"].values():
            for value in score.values():
                assert value["low"] <= value["value"] <= value["high"]
                assert value["n"] == 6


def test_the_unsteered_model_does_not_change(record):
    unsteered = record["settings"][0]
    for score in unsteered["scores"].values():
        assert score["margin_change"]["value"] == score["text_change"]["value"] == 0
    assert unsteered["tax"]["change"]["value"] == 0
    assert unsteered["drift"]["value"] == 0


def test_points_and_scales_are_the_best_within_the_guard_on_validation(record):
    for chosen in record["chosen"]:
        own = [
            point
            for point in record["grid"]
            if point["behaviour"] == chosen["behaviour"] and point["coefficient"] * chosen["sign"] > 0
        ]
        kept = [point for point in own if point["eligible"]]
        gains = {(p["layer"], p["coefficient"]): chosen["sign"] * p["margin_change"]["value"] for p in kept or own}
        if kept:
            assert gains[chosen["layer"], chosen["coefficient"]] == max(gains.values())
        assert (chosen["layer"], chosen["coefficient"]) in gains
        assert chosen["eligible"] == bool(kept)
    scales = {each["name"]: each["scale"] for each in record["settings"] if each["kind"] in ("combined", "one layer")}
    for curve in record["curves"]:
        points = {point["scale"]: point for point in curve["points"]}
        assert list(points) == [0.5, 1.0]
        assert all(point["tax"]["n"] == 2 for point in points.values())
        kept = {scale: point["gain"] for scale, point in points.items() if point["eligible"]}
        assert curve["chosen"] == (max(kept, key=kept.get) if kept else 0.5)
        assert scales.get(curve["setting"], curve["chosen"]) == curve["chosen"]


def test_an_ineligible_point_says_why(record):
    assert all(bool(point["why"]) != point["eligible"] for point in record["grid"])
    limit = record["guard"]["drift"]
    for point in record["grid"]:
        if point["drift"]["value"] > limit:
            assert "plain prose drifts by" in point["why"]


def test_at_scale_one_a_weighted_way_asks_what_the_single_settings_have(record):
    own = {(each["behaviour"], each["sign"]): each for each in record["chosen"]}
    seen = 0
    for each in record["settings"]:
        if each["kind"] == "simultaneous" and each["weighted"] and each["sign"]:
            for member in each["members"]:
                point = own[member["behaviour"], each["sign"]]
                assert member["asked"] == pytest.approx(each["scale"] * point["coefficient"])
                assert member["site"] == f"resid_post.{point['layer']}"
                seen += 1
        if each["way"] == "mean":
            total = next(
                other
                for other in record["settings"]
                if other["way"] == "sum" and (other["weighted"], other["sign"]) == (each["weighted"], each["sign"])
            )
            for one, two in zip(each["members"], total["members"], strict=True):
                assert 3 * one["asked"] / each["scale"] == pytest.approx(two["asked"] / total["scale"])
        if each["way"] == "solve":
            for member in each["members"]:
                assert member["effect"] == pytest.approx(member["asked"], abs=1e-6)
    assert seen == 6


def test_one_layer_does_what_the_sum_does(record):
    by_name = {each["name"]: each for each in record["settings"]}
    for sign in ("+", "-"):
        one, two = by_name[f"one layer, weighted ({sign})"], by_name[f"sum, weighted ({sign})"]
        assert one["scale"] == two["scale"]
        for name, score in one["scores"].items():
            assert score["margin"]["value"] == pytest.approx(two["scores"][name]["margin"]["value"], abs=1e-4)


def test_what_was_foretold_is_held_against_what_came(record):
    several = [each for each in record["settings"] if each["kind"] in ("combined", "simultaneous", "one layer")]
    assert len(record["predictions"]) == 3 * len(several)
    for each in record["predictions"]:
        assert each["agrees"] == ((each["predicted"] > 0) == (each["measured"]["value"] > 0))
    counted = [each for each in record["predictions"] if each["counts"]]
    assert record["prediction"]["n"] == len(counted)
    if counted:
        share = sum(each["agrees"] for each in counted) / len(counted)
        assert record["prediction"]["sign_agreement"]["value"] == pytest.approx(share)
    assert len(record["interference"]["pairs"]) == 3 * 2 * 2
    assert record["finding"][0].startswith("By itself, ")
    questions = {each["question"] for each in record["comparisons"]}
    assert questions == {
        "several layers against one",
        "overlap taken out against left in",
        "steered against random",
        "steered against the system prompt",
    }


def test_directions_and_plans_are_there_to_be_used(finished, record):
    for name in ("haste", "greed", "anti-order"):
        assert len(load_direction(finished / "directions" / f"{name}.safetensors").sites) == 4
    plans = {path.stem for path in (finished / "plans").glob("*.safetensors")}
    assert {"haste-more", "haste-less", "simultaneous-weighted-more", "solve-weighted-mixed"} <= plans
    plan = load_plan(finished / "plans" / "simultaneous-weighted-less.safetensors")
    (setting,) = [each for each in record["settings"] if each["name"] == "simultaneous, weighted (-)"]
    asked = sorted(member["coefficient"] for member in setting["members"])
    assert sorted(step.coefficient for step in plan) == pytest.approx(asked)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stage", ["grid of greed", "test 3"])
def test_an_interrupted_run_ends_with_the_same_bytes_and_repeats_nothing(
    stage, behaviours_study, finished, tiny_llama, tmp_path
):
    folder = tmp_path / "run"

    def stop(name: str, done: int, _total: int) -> None:
        if name.startswith(stage) and done:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_study(read_config(behaviours_study), tiny_llama, folder, notify=stop)
    assert not (folder / "summary.json").exists()
    kept = (folder / "items.jsonl").read_bytes()
    run_study(read_config(behaviours_study), tiny_llama, folder)
    for name in FILES:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    after = (folder / "items.jsonl").read_bytes()
    assert after.startswith(kept)
    keys = [json.loads(line)["key"] for line in after.decode().splitlines()[1:]]
    assert len(keys) == len(set(keys))


def test_letters_can_decide(behaviours_study, tiny_llama, tmp_path):
    values = {
        "scoring": "letter",
        "reading": "letter",
        "form": "plain",
        "combined.ways": ["sum"],
        "combined.mixed": {"haste": 1},
        "combined.signs": ["+"],
        "controls.random": 0,
        "controls.prompt": False,
    }
    folder = run_study(read_config(behaviours_study, overrides=values), tiny_llama, tmp_path / "run")
    record = json.loads((folder / "behaviours.json").read_text(encoding="utf-8"))
    assert record["scoring"] == "letter"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    metrics = {row["metric"] for row in results if row["task"] == "behaviour:haste"}
    assert metrics == {"matching_logprob", "matching_log_odds", "matching_token", "faulty_rate"}
    assert {each["kind"] for each in record["settings"]} == {
        "unsteered",
        "single",
        "combined",
        "simultaneous",
        "one layer",
    }


def test_the_command_takes_files_by_name(behaviours_study, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": 3}\n', encoding="utf-8")
    folder = tmp_path / "run"
    assert run(["run", str(behaviours_study), "--out", str(folder), "--set", f"anti_immigration={bad}"]) == 2
    assert "bad.jsonl, line 1: expected 'question' as a non-empty string, got 3" in capsys.readouterr().err
    assert not folder.exists()


def test_letters_without_options_in_words_are_refused_before_anything_is_computed(
    behaviours_study, tiny_llama, tmp_path
):
    bare = [
        {"question": f"{i}? A or B?", "answer_matching_behavior": "A", "answer_not_matching_behavior": "B"}
        for i in range(10)
    ]
    source = lines(tmp_path / "bare.jsonl", bare)
    config = read_config(behaviours_study, sets={"bare": source})
    with pytest.raises(InputError, match="expected options in words for bare, item bare-1"):
        run_study(config, tiny_llama, tmp_path / "run")
    few = lines(tmp_path / "few.jsonl", worded(2))
    with pytest.raises(DataError, match=r"few\.jsonl: expected enough items to cut .*, got 2"):
        run_study(read_config(behaviours_study, sets={"few": few}), tiny_llama, tmp_path / "run")
    assert not (tmp_path / "run").exists()
