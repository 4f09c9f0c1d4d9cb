"""The parts of the skills study: configuration, corpora, curves and choices, on planted outcomes."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from steersman.errors import DataError, InputError
from steersman.evaluation import Measured
from steersman.prompts import Passage
from steersman.studies import read_config
from steersman.studies.skills.choosing import best_of, choose
from steersman.studies.skills.comparing import Side, compared
from steersman.studies.skills.config import SkillsConfig
from steersman.studies.skills.corpora import read_corpora
from steersman.studies.skills.curves import Curve, Line, climb
from steersman.studies.skills.vectors import layer_sets
from steersman.tasks import Outcome, SkillTask
from tiny import direction


def lines(path, word: str, count: int = 80, **more: object) -> str:
    records = [{"text": f"{word} number {i} of the {word}s, " + f"{word} " * 8, **more} for i in range(count)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_the_shipped_study_is_valid_quick_and_full_and_its_shares_are_layers():
    quick, full = read_config("skills"), read_config("skills", full=True)
    assert (quick.keep, quick.removed) == ("text", ["code", "python"])
    assert layer_sets(quick, 30) == [(12,), (15,), (18,), (12, 15)]
    # Gemma 3 270M has 18.
    assert layer_sets(quick, 18) == [(7,), (9,), (10,), (7, 9)]
    assert full.mode == "full"
    assert full.texts.test > quick.texts.test
    assert read_config("skills", overrides={"sweep.layers": [[-1], [29], [0.2, 0.21]]}) is not None
    assert layer_sets(read_config("skills", overrides={"sweep.layers": [[-1], [29], [0.2, 0.21]]}), 30) == [(6,), (29,)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"corpora.text": {"role": "remove"}}, "one role keep and at least one remove"),
        ({"sweep.coefficients": [-0.1, 0.2]}, "positive coefficients"),
        ({"sweep.layers": [[1], []]}, "at least one layer in every set"),
        ({"narrow": "text"}, "broad and narrow as two of the removed"),
        ({"vectors.masked": [2, 2]}, "different entries"),
        ({"corpora.code": {"sources": [{"source": "cpp", "branch": "x"}]}}, "a field that a skills study has"),
    ],
)
def test_a_bad_configuration_is_said_with_its_field(overrides, message):
    with pytest.raises(InputError, match=message):
        read_config("skills", overrides=overrides)


def test_a_set_that_no_corpus_has_is_named():
    with pytest.raises(InputError, match=r"expected a corpus among text, code, python before the '=', got 'prose'"):
        read_config("skills", sets={"prose": "x.jsonl"})
    config = read_config("skills", sets={"text": "my.jsonl"})
    assert [each.source for each in config.corpora["text"].sources] == ["my.jsonl"]
    assert [each.source for each in config.corpora["code"].sources] == ["python", "cpp"]


def small(tmp_path, **more):
    sets = {name: lines(tmp_path / f"{name}.jsonl", name) for name in ("text", "code", "python")}
    texts = {"train": 10, "validation": 5, "test": 5, "characters": 50}
    return read_config("skills", overrides={"texts": texts, **more}, sets=sets)


def test_corpora_hold_no_text_twice_and_splits_no_record_twice(tmp_path):
    config = small(tmp_path)
    # The same file under two names: what one corpus took is not drawn for the other.
    config = config.model_copy(update={"corpora": config.corpora | {"again": config.corpora["code"]}})
    found = read_corpora(config)
    every = [text for each in found.values() for part in (each.train, each.validation, each.test) for text in part]
    assert len({text.text for text in every}) == len(every) == 4 * 20
    for each in found.values():
        names = [{text.id.partition("#")[0] for text in part} for part in (each.train, each.validation, each.test)]
        assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]


@pytest.mark.parametrize("rule", [{"only": {"meta.kind": "prose"}}, {"without": {"meta.kind": "Github"}}])
def test_records_are_chosen_by_their_fields(tmp_path, rule):
    mixed = tmp_path / "mixed.jsonl"
    parts = [
        Path(lines(tmp_path / f"{kind}.jsonl", word, meta={"kind": kind})).read_text(encoding="utf-8")
        for kind, word in (("prose", "wanted"), ("Github", "other"))
    ]
    mixed.write_text("".join(parts), encoding="utf-8")
    plain = small(tmp_path).plain()
    plain["corpora"]["text"]["sources"] = [{"source": str(mixed), **rule}]
    texts = read_corpora(SkillsConfig.model_validate(plain))["text"]
    words = {text.text.split()[-1] for text in (*texts.train, *texts.validation, *texts.test)}
    assert words
    assert not any("other" in word for word in words)


def test_the_hub_is_streamed_from_its_first_records(tmp_path):
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    lines(folder / "train.jsonl", "streamed", 200)
    config = small(tmp_path)
    source = type(config.corpora["text"]).model_validate(
        {"role": "keep", "sources": [{"source": f"hub:{folder}", "rows": 60}]}
    )
    found = read_corpora(config.model_copy(update={"corpora": config.corpora | {"text": source}}))["text"]
    names = [text.id.partition("#")[0] for text in (*found.train, *found.validation, *found.test)]
    numbers = [int(name.removeprefix("set-train-")) for name in names]
    assert max(numbers) <= 60
    assert len(numbers) == 20


def test_a_corpus_of_one_file_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "one.txt").write_text("words of one file\n" * 200, encoding="utf-8")
    with pytest.raises(DataError, match=r"corpus text: expected at least 4 texts .* give more files or a JSONL"):
        read_corpora(read_config("skills", sets={"text": str(tmp_path / "one.txt")}))
    config = small(tmp_path)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"content": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad.jsonl, line 1: expected 'text' as a text, got nothing"):
        read_corpora(read_config("skills", sets={"text": str(bad)}))
    assert config.keep == "text"


@dataclass
class World:
    """A model whose accuracies fall with the coefficient, at rates that are planted for each corpus."""

    rates: dict[str, float]
    calls: list[list[float]]

    def __call__(self, settings):
        self.calls.append([setting.coefficient for setting in settings])
        return [self.one(name, setting) for setting in settings for name in self.rates]

    @property
    def asked(self):
        return [each for call in self.calls for each in call]

    def one(self, name, setting):
        base = np.random.default_rng(len(name)).uniform(0.4, 0.8, 20)
        share = max(0.0, 1 - self.rates[name] * setting.coefficient)
        items = tuple(Passage(f"{name}-{i}", "text") for i in range(20))
        metrics = ("top1_accuracy", "top10_accuracy", "cross_entropy")
        outcomes = [
            Outcome(item.id, dict.fromkeys(metrics, float(base[i] * share)), {"tokens": 40 + i})
            for i, item in enumerate(items)
        ]
        return Measured(SkillTask(items, f"skill-{name}"), setting, outcomes)


def planted(rates, grid=(0.1, 0.2, 0.4), *, vector="v", layers=(1,), refine=0, extend=0, stop=False, retain=0.9):
    world = World(rates, [])
    line = Line(vector, "code", layers, direction(1, layers))
    options = {"keep": "text", "metric": "top1_accuracy", "retain": retain}
    (curve,) = climb([line], world, list(rates), grid, refine=refine, extend=extend, stop=stop, **options)
    return curve, world


def test_a_curve_is_extended_until_it_passes_refined_where_it_leaps_and_stopped_where_it_may():
    slow, world = planted({"text": 0.1, "code": 0.2}, extend=6)
    assert world.asked == [0.0, 0.1, 0.2, 0.4, 0.6, 0.9, 1.35]
    assert slow.passing(0.9) is not None
    never, world = planted({"text": 0.1, "code": 0.2}, extend=1)
    assert never.passing(0.9) is None
    assert never.record(0.9)["kept"] is None
    leap, world = planted({"text": 2.0, "code": 2.0}, grid=(0.01, 0.4), refine=2)
    assert world.asked == [0.0, 0.01, 0.4, 0.205, 0.1075]
    assert leap.coefficients == [0.0, 0.01, 0.1075, 0.205, 0.4]
    _, world = planted({"text": 0.8, "code": 2.0}, stop=True)
    assert world.asked == [0.0, 0.1, 0.2]


def test_a_grid_is_one_step_and_lines_that_stop_take_theirs_together():
    _, world = planted({"text": 0.1, "code": 0.2}, extend=1)
    assert world.calls == [[0.0, 0.1, 0.2, 0.4], [0.6]]
    world, options = World({"text": 0.6, "code": 2.0}, []), {"keep": "text", "metric": "top1_accuracy", "retain": 0.9}
    lines = [Line(name, "code", (1,), direction(1, (1,))) for name in "ab"]
    done: list[int] = []
    grid = (0.1, 0.2, 0.4)
    curves = climb(lines, world, ["text", "code"], grid, refine=0, extend=1, stop=True, notify=done.append, **options)
    assert world.calls == [[0.0, 0.1] * 2, [0.2] * 2]
    assert done == [0, 2]
    alone = [
        climb([line], world, ["text", "code"], grid, refine=0, extend=1, stop=True, **options)[0] for line in lines
    ]
    assert [each.record(0.9) for each in curves] == [each.record(0.9) for each in alone]


def test_planted_rates_come_out_at_the_kept_level():
    curve, _ = planted({"text": 0.5, "code": 1.5})
    left = curve.left(0.9)
    assert left is not None
    # At coefficient 0.2 text keeps 0.9 and code 0.7, for every text alike, so that nothing is uncertain.
    found = left.estimate()
    assert (found.low, found.value, found.high) == pytest.approx((0.7, 0.7, 0.7))
    record = curve.record(0.9)
    assert record["kept"]["coefficient"] == pytest.approx(0.2)
    assert record["kept"]["skills"]["code"]["value"] == pytest.approx(0.7)
    # v = c, u = c up to 0.4: a triangle.
    assert record["area"]["value"] == pytest.approx(0.4 * 0.4 / 2)
    point = record["points"][1]["skills"]["code"]
    assert point["top1_accuracy"]["relative"]["value"] == pytest.approx(0.85)
    assert point["cross_entropy"]["change"]["value"] < 0


def test_the_choice_is_what_leaves_least_with_enough_kept_and_knows_its_rivals():
    curves = [
        planted({"text": 0.5, "code": 1.0}, vector="weak", layers=(1,))[0],
        planted({"text": 0.5, "code": 1.5}, vector="strong", layers=(1,))[0],
        planted({"text": 0.5, "code": 1.8}, vector="strong", layers=(1, 2))[0],
        # Removes most of all, and keeps nothing.
        planted({"text": 9.0, "code": 9.5}, vector="harmful", layers=(2,))[0],
    ]
    choice = choose(curves, "code", 0.9)
    assert (choice.best.curve.line.vector, choice.best.curve.line.layers) == ("strong", (1, 2))
    assert choice.best.coefficient == pytest.approx(0.2)
    assert choice.best.left == pytest.approx(0.64)
    assert choice.single is not None
    assert choice.single.curve.line.layers == (1,)
    assert choice.several is choice.best
    assert set(choice.others) == {"weak", "harmful"}
    assert "strong at 1+2 leaves least of code: 64.0% with 90.0% of text kept" in choice.reason
    flat = best_of(planted({"text": 0.0, "code": 0.5})[0], 0.9)
    assert (flat.left, flat.kept, flat.coefficient) == pytest.approx((0.8, 1.0, 0.4))


def test_a_comparison_finds_what_is_planted_and_owns_up_where_there_is_nothing():
    selective = Side("selective", (planted({"text": 0.5, "code": 1.5})[0],))
    generic = Side("generic (2 seeds)", tuple(planted({"text": 0.5, "code": rate})[0] for rate in (0.5, 0.7)))
    level, by_area = compared("steered against permuted", selective, generic, 0.9)
    assert level["difference"]["value"] == pytest.approx(0.7 - 0.88)
    assert level["difference"]["low"] <= level["difference"]["high"] < 0
    assert level["measure"] == "relative top-1 accuracy of code"
    assert "selective is the more selective" in level["sentence"]
    assert by_area["difference"]["low"] > 0
    # Both curves only as far as the shorter one goes.
    assert by_area["reach"] == pytest.approx(0.2)
    twin, _ = compared("twins", selective, selective, 0.9)
    assert twin["difference"]["value"] == 0
    assert "the two cannot be told apart" in twin["sentence"]
    faithful = Side("faithful", (planted({"text": 0.0, "code": 0.5})[0],))
    (only,) = compared("against what never falls", selective, faithful, 0.9)
    assert only["measure"] == "area"
    assert only["note"] == "faithful never fell to 90% of text"


def test_curves_of_one_corpus_share_their_draws():
    one, two = (planted({"text": 0.5, "code": rate})[0] for rate in (1.0, 1.2))
    assert np.array_equal(one.levels("text", "top1_accuracy").rows, two.levels("text", "top1_accuracy").rows)
    assert isinstance(one, Curve)
