"""`skills.json` read: what is there is kept, and what is not as it should be is one sentence that names it."""

import copy
import json
from pathlib import Path

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


@pytest.mark.parametrize("field", list(SMALL))
def test_a_missing_field_is_named(field):
    with pytest.raises(DataError, match=rf"run/skills\.json: expected the key '{field}', got only"):
        skills_of(changed(field, to=...), Path("run/skills.json"))


@pytest.mark.parametrize(
    ("path", "to", "match"),
    [
        (("version",), 2, r"version: expected version 1, which this steersman reads, got 2"),
        (("layers",), 0, r"layers: expected a whole number of at least 1, got 0"),
        (("layers",), 30.0, r"layers: expected a whole number of at least 1, got 30\.0"),
        (("layers",), True, r"layers: expected a whole number of at least 1, got True"),
        (("metric",), "cross_entropy", r"metric: expected one of top1_accuracy, top10_accuracy, got 'cross_entropy'"),
        (("keep",), "poems", r"keep: expected one of .*text.*, got 'poems'"),
        (("retain",), 90, r"retain: expected a share above 0 and at most 1, got 90"),
        (("corpora", 0, "role"), "drop", r"corpora\[0\]\.role: expected one of keep, remove, watch, got 'drop'"),
        (("corpora", 1, "tokens"), -1, r"corpora\[1\]\.tokens: expected a whole number of at least 0, got -1"),
        (("test", 0, "remove"), "text", r"test\[0\]\.remove: expected one of code, python, got 'text'"),
        (("test", 0, "vector"), "other", r"test\[0\]\.vector: expected one of .*, got 'other'"),
        (("chosen", 0, "vector"), "other", r"chosen\[0\]\.vector: expected one of .*, got 'other'"),
        (("test", 0, "layers"), [], r"test\[0\]\.layers: expected one layer or more, got none"),
        (("test", 0, "layers"), ["9"], r"test\[0\]\.layers\[0\]: expected a whole number, got '9'"),
        (("test", 0, "arm"), "steering", r"test\[0\]\.arm: expected one of steered, permuted, random, got 'steering'"),
        (
            ("test", 0, "points", 0, "coefficient"),
            0.5,
            r"test\[0\]\.points: expected coefficients that rise from 0, got 0\.5, 0\.4, 0\.8",
        ),
        (("test", 0, "points"), [], r"test\[0\]\.points: expected coefficients that rise from 0, got none"),
        (
            ("test", 0, "points", 1, "skills", "rust"),
            ...,
            r"test\[0\]\.points\[1\]\.skills: expected the key 'rust', got only",
        ),
        (("test", 0, "area", "value"), float("nan"), r"test\[0\]\.area\.value: expected a finite number, got nan"),
        (("test", 0, "area", "value"), 10**400, r"test\[0\]\.area\.value: expected a finite number, got 1000"),
        (
            ("test", 0, "area", "low"),
            9.0,
            r"test\[0\]\.area\.low: expected an interval's lower end, at most .*, got 9\.0",
        ),
        (("test", 0, "area"), 0.4, r"test\[0\]\.area: expected an object, got 0\.4"),
        (
            ("vectors", 0, "histograms", 0, "edges"),
            [0.0, 1.0],
            r"vectors\[0\]\.histograms\[0\]\.edges: expected \d+ edges for \d+ counts, got 2",
        ),
        (("cosines", 0, "matrix"), [[1.0]], r"cosines\[0\]\.matrix: expected 2 rows of 2 cosines, got a list"),
        (("chosen", 0, "coefficient"), "0.4", r"chosen\[0\]\.coefficient: expected a finite number, got '0\.4'"),
        (
            ("comparisons", 0, "first_value"),
            {"value": 1.0, "low": 0.9, "high": 1.1},
            r"comparisons\[0\]\.first_value: expected the key 'n', got only high, low, value",
        ),
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
    for broken in (b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "skills.json").write_bytes(broken)
        with pytest.raises(FileError, match=r"skills\.json is not valid JSON .*; remove it and run the study again"):
            read_skills(tmp_path)
    (tmp_path / "skills.json").write_text(json.dumps([1]))
    with pytest.raises(DataError, match=r"skills\.json: expected an object, got a list"):
        read_skills(tmp_path)
