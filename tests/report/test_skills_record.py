"""`skills.json` read: what is there is kept, and what is not as it should be is one sentence that names it."""

import copy
import json

import pytest
from simulated_skills import CORPORA, DEPTH, record, write_record

from steersman.errors import DataError, FileError
from steersman.report.skills.reading import read_skills, skills_of

SMALL = record(layers=((9,),), readings=(("mean", 0),), controls=1, coefficients=(0.0, 0.4, 0.8))


def changed(*path, to):
    """Return the small record with one field changed; a `to` of `...` takes it out."""
    plain = copy.deepcopy(SMALL)
    place = plain
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return plain


def test_what_is_written_is_what_is_read(tmp_path):
    plain = record()
    found = read_skills(write_record(tmp_path / "run", plain))
    assert (found.layers, found.keep, found.removed) == (DEPTH, "text", ["code", "python"])
    assert [corpus.name for corpus in found.corpora] == list(CORPORA)
    for part in ("validation", "test"):
        curves = getattr(found, part)
        assert len(curves) == len(plain[part])
        for curve, said in zip(curves, plain[part], strict=True):
            assert list(curve.layers) == said["layers"]
            assert [point.coefficient for point in curve.points] == [point["coefficient"] for point in said["points"]]
            last, told = curve.points[-1], said["points"][-1]["skills"]["python"]
            assert last.relative["python"]["top10_accuracy"].value == told["top10_accuracy"]["relative"]["value"]
            assert last.change["python"].high == told["cross_entropy"]["change"]["high"]
            assert (curve.kept is None) == (said["kept"] is None)
    assert [vector.masked for vector in found.vectors] == [vector["masked"] for vector in plain["vectors"]]
    assert found.cosines[0].matrix == tuple(map(tuple, plain["cosines"][0]["matrix"]))


def test_fields_that_are_added_do_no_harm():
    assert skills_of({**SMALL, "more": 1}) == skills_of(SMALL)


@pytest.mark.parametrize("field", [name for name in SMALL if name != "version"])
def test_a_missing_field_is_named(field):
    with pytest.raises(DataError, match=rf"run/skills.json: expected the field '{field}'"):
        skills_of(changed(field, to=...), "run/skills.json")


@pytest.mark.parametrize(
    ("path", "to", "match"),
    [
        (("version",), 2, "expected version 1 of the record, got 2"),
        (("metric",), "cross_entropy", "expected a metric among top1_accuracy, top10_accuracy"),
        (("keep",), "poems", "expected 'keep' among the corpora .*'poems'"),
        (("retain",), 90, "expected 'retain' above 0 and at most 1, got 90"),
        (("corpora", 0, "role"), "drop", "expected a role among keep, remove, watch"),
        (("test", 0, "remove"), "text", "expected curves that remove one of code, python, got 'text'"),
        (("test", 0, "vector"), "other", "expected a vector among .*got 'other'"),
        (("test", 0, "layers"), [], "expected one layer or more"),
        (("test", 0, "arm"), "steering", "expected a arm among"),
        (("test", 0, "points", 0, "coefficient"), 0.5, "rise from 0"),
        (("test", 0, "points", 1, "skills", "rust"), ..., "expected the field 'rust'"),
        (("test", 0, "area", "value"), float("nan"), "area: expected a finite number in 'value'"),
        (("test", 0, "area"), 0.4, "expected area to be an object, got float"),
        (("vectors", 0, "histograms", 0, "edges"), [0.0, 1.0], "one edge more than counts"),
        (("cosines", 0, "matrix"), [[1.0]], "expected a square of 2 x 2 cosines at layer 3"),
        (("chosen", 0, "coefficient"), "0.4", "'coefficient' is str"),
        (("comparisons", 0, "first_value"), {"value": 1.0, "low": 0.9}, "first_value: expected the field 'n'"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(path, to, match):
    with pytest.raises(DataError, match=match):
        skills_of(changed(*path, to=to))


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(
        FileError, match=r"skills\.json does not exist; give the folder that `steersman run skills` wrote"
    ):
        read_skills(tmp_path)
    (tmp_path / "skills.json").write_text("{")
    with pytest.raises(FileError, match=r"skills\.json is not valid JSON .*; remove it and run the study again"):
        read_skills(tmp_path)
    (tmp_path / "skills.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match="expected the record to be an object, got list"):
        read_skills(tmp_path)
