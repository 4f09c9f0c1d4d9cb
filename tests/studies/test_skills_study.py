"""The skills study end to end on a tiny model: complete, repeatable, and indifferent to being killed."""

import json
from pathlib import Path

import pytest
import yaml

from steersman.errors import FileError, InputError
from steersman.files import load_direction
from steersman.model.load import load
from steersman.studies import read_config, run_study
from tiny import tiny_network, tokenizer

TABLES = ("skills.json", "results.json", "differences.json", "outcomes.jsonl", "summary.json")

SMALL = {
    "seed": 3,
    "dtype": "float32",
    "metric": "top10_accuracy",
    "retain": 0.9,
    "texts": {"train": 12, "validation": 4, "test": 6, "characters": 40, "tokens": 40},
    "vectors": {"readings": ["last", "mean"], "masked": [0, 2]},
    "sweep": {
        "layers": [[1], [2], [1, 2]],
        "coefficients": [0.2, 0.6],
        "multiples": [0.5, 1.0],
        "refine": 1,
        "extend": 2,
        "permuted": 2,
        "random": 1,
    },
}


def records(path: Path, words: str) -> str:
    lines = [f"{words} {i} {words[::-1]} {i * 7 % 11} {words[: 3 + i % 5]} {words}" for i in range(60)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("skills")
    tiny_network("llama").save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    sets = {
        "text": records(folder / "text.jsonl", "the hen was fond of a walk"),
        "code": records(folder / "code.jsonl", "int f(x){return x<<2;}"),
        "python": records(folder / "python.jsonl", "def f(x): return x ** 2"),
    }
    config = read_config("skills", overrides={"model": str(folder / "model"), **SMALL}, sets=sets).plain()
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(study):
    return load(str(study.parent / "model"), dtype="float32")


@pytest.fixture(scope="module")
def undisturbed(study, model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    return run_study(read_config(study), model, folder)


@pytest.fixture(scope="module")
def record(undisturbed):
    return json.loads((undisturbed / "skills.json").read_text(encoding="utf-8"))


def estimates(value):
    """Every estimate within plain data."""
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high", "n"}:
            yield value
        else:
            for each in value.values():
                yield from estimates(each)
    elif isinstance(value, list):
        for each in value:
            yield from estimates(each)


def test_the_record_holds_all_that_was_promised(record):
    assert set(record) >= {
        "version", "model", "layers", "unit", "corpora", "keep", "retain", "metric", "vectors", "cosines",
        "validation", "test", "chosen", "comparisons", "finding",
    }  # fmt: skip
    assert [(each["name"], each["role"]) for each in record["corpora"]] == [
        ("text", "keep"),
        ("code", "remove"),
        ("python", "remove"),
    ]
    assert all((each["train"], each["validation"], each["test"]) == (12, 4, 6) for each in record["corpora"])
    assert all(each["tokens"] > 60 for each in record["corpora"])
    names = [each["name"] for each in record["vectors"]]
    assert names == [
        f"{of}, {how}" for of in ("code", "python") for how in ("last", "last, masked", "mean", "mean, masked")
    ]
    for vector in record["vectors"]:
        assert [row["layer"] for row in vector["by_layer"]] == [1, 2]
        assert all(sum(held["counts"]) == 32 and len(held["edges"]) == 41 for held in vector["histograms"])
        zeros = {held["largest"][0]["value"] == 0 for held in vector["histograms"]}
        assert zeros == {False}
    assert [each["layer"] for each in record["cosines"]] == [1, 2]
    assert record["cosines"][0]["names"] == names
    every = list(estimates(record))
    assert len(every) > 500
    assert all(each["low"] <= each["value"] <= each["high"] and each["n"] >= 4 for each in every)


def test_curves_rise_from_nothing_over_the_same_tokens(record):
    for curve in record["validation"] + record["test"]:
        coefficients = [point["coefficient"] for point in curve["points"]]
        assert coefficients == sorted(set(coefficients))
        assert coefficients[0] == 0
        first = curve["points"][0]["skills"]
        for name, skill in first.items():
            assert skill["top10_accuracy"]["relative"] == {
                "value": 1.0,
                "low": 1.0,
                "high": 1.0,
                "n": skill["top10_accuracy"]["relative"]["n"],
            }
            assert skill["cross_entropy"]["change"]["value"] == 0
            same = {json.dumps(each["points"][0]["skills"][name]) for each in record["test"]}
            if curve in record["test"]:
                assert same == {json.dumps(skill)}
    assert {len(curve["points"][0]["skills"]) for curve in record["test"] + record["validation"]} == {3}
    assert len(record["validation"]) == 8 * 3


def test_every_choice_stands_in_the_test_beside_its_controls_and_counterparts(record):
    for chosen in record["chosen"]:
        mine = [each for each in record["test"] if each["remove"] == chosen["remove"]]
        key = (chosen["vector"], chosen["layers"])
        same = [each for each in mine if (each["vector"], each["layers"]) == key]
        assert [each["arm"] for each in same] == ["steered", "permuted", "permuted", "random"]
        assert chosen["coefficient"] in [point["coefficient"] for point in same[0]["points"]]
        assert {each["vector"] for each in mine} == {
            v["name"] for v in record["vectors"] if v["remove"] == chosen["remove"]
        }
        assert {len(each["layers"]) for each in mine if each["vector"] == chosen["vector"]} == {1, 2}
        grid = {point["coefficient"] for point in same[0]["points"]}
        assert all(len(grid & {point["coefficient"] for point in each["points"]}) >= 3 for each in same)
    questions = {each["question"] for each in record["comparisons"]}
    assert questions >= {
        "steered against permuted",
        "steered against random",
        "one layer against two",
        "masked against raw",
        "last token against mean",
        "broad against narrow",
    }
    for each in record["comparisons"]:
        shown = "cannot be told apart" in each["sentence"]
        assert shown == (each["difference"]["low"] <= 0 <= each["difference"]["high"])


def test_what_is_kept_lies_between_the_points_around_it(record):
    crossed = 0
    for curve in record["test"]:
        levels = [point["skills"]["text"]["top10_accuracy"]["relative"]["value"] for point in curve["points"]]
        if curve["kept"] is None:
            assert min(levels) >= record["retain"]
            continue
        crossed += 1
        assert curve["kept"]["keep"]["value"] == pytest.approx(record["retain"])
        index = next(i for i, level in enumerate(levels) if level < record["retain"])
        around = [point["coefficient"] for point in curve["points"]][index - 1 : index + 1]
        assert around[0] <= curve["kept"]["coefficient"] <= around[1]
    assert crossed


def test_the_chosen_directions_are_saved_and_lead_away_from_what_is_removed(undisturbed, record, model):
    for chosen in record["chosen"]:
        saved = load_direction(undisturbed / "directions" / f"{chosen['remove']}.safetensors")
        assert [site.layer for site in saved.sites] == chosen["layers"]
    summary = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))
    assert summary["study"] == "skills"
    assert summary["complete"] is True
    assert [each["remove"] for each in summary["skills"]] == ["code", "python"]
    facts = json.loads((undisturbed / "provenance.json").read_text(encoding="utf-8"))
    assert facts["data"]["python-test"]["n"] == 6
    assert set(facts["seconds"]) == {"extract", "validation", "test", "summarise"}


class CutError(Exception):
    """Stands for a kill."""


def test_a_run_cut_short_at_several_places_ends_in_the_same_bytes(study, model, undisturbed, tmp_path):
    folder = tmp_path / "cut"
    for stop in (("record", 1), ("validation", 5), ("test", 3)):

        def cut(stage: str, done: int, total: int, stop=stop) -> None:
            if stage.startswith(stop[0]) and done >= stop[1]:
                raise CutError

        with pytest.raises(CutError):
            run_study(read_config(study), model, folder, notify=cut)
    assert not (folder / "summary.json").exists()
    run_study(read_config(study), model, folder)
    for name in TABLES:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    keys = [json.loads(line)["key"] for line in (folder / "items.jsonl").read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys))


def test_the_same_run_again_measures_nothing(study, model, undisturbed):
    before = {name: (undisturbed / name).read_bytes() for name in (*TABLES, "items.jsonl")}
    run_study(read_config(study), model, undisturbed)
    assert {name: (undisturbed / name).read_bytes() for name in before} == before


def test_another_configuration_is_refused(study, model, undisturbed):
    with pytest.raises(FileError, match="holds a run with other settings"):
        run_study(read_config(study, overrides={"seed": 9}), model, undisturbed)


def test_layers_that_the_model_lacks_cost_nothing(study, model, tmp_path):
    config = read_config(study, overrides={"sweep.layers": [[7]]})
    with pytest.raises(InputError, match="expected a layer from -4 to 3, got 7"):
        run_study(config, model, tmp_path / "run")
    assert not (tmp_path / "run").exists()
