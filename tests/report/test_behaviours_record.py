"""`behaviours.json` is read whole, and what is wrong with it is said with its place."""

import copy
import json

import pytest
from simulated_behaviours import NAMES, behaviours, write_folder

from steersman.errors import DataError, FileError
from steersman.report.behaviours import parsed, read_behaviours

SMALL = behaviours(NAMES[:2])


def put(record, place, value):
    """Return a copy with a value at a place such as `settings.3.kind`; the value `...` takes the key out."""
    changed = copy.deepcopy(record)
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    inner = changed
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return changed


def test_every_number_of_the_record_arrives():
    record = parsed(SMALL)
    assert record.names == NAMES[:2]
    assert len(record.grid) == len(SMALL["grid"])
    assert [each.name for each in record.settings] == [each["name"] for each in SMALL["settings"]]
    for mine, theirs in zip(record.settings, SMALL["settings"], strict=True):
        for name, score in mine.scores.items():
            assert vars(score.margin_change) == theirs["scores"][name]["margin_change"]
            assert vars(score.text_change) == theirs["scores"][name]["text_change"]
        assert mine.tax is not None
        assert vars(mine.tax.change) == theirs["tax"]["change"]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("version", 2, r"version: expected version 1, which this steersman reads, got 2"),
        ("grid", ..., r"expected the key 'grid', got only"),
        ("grid.1.margin_change.low", "low", r"grid\[1\]\.margin_change\.low: expected a finite number, got 'low'"),
        ("grid.0.margin_change.value", None, r"grid\[0\]\.margin_change\.value: expected a finite number, got null"),
        (
            "grid.0.margin_change.low",
            9.0,
            r"grid\[0\]\.margin_change\.low: expected an interval's lower end, at most its upper end",
        ),
        ("grid.0.eligible", 1, r"grid\[0\]\.eligible: expected true or false, got 1"),
        ("settings.1.kind", "double", r"settings\[1\]\.kind: expected one of unsteered, single, .*, got 'double'"),
        ("settings.1.scores", [], r"settings\[1\]\.scores: expected an object, got a list"),
        ("settings.2.tax.n", 3.5, r"settings\[2\]\.tax\.n: expected a whole number, got 3\.5"),
        (
            "vectors.0.histograms.0.counts",
            [1],
            r"vectors\[0\]\.histograms\[0\]\.edges: expected 2 edges for 1 counts, got 42",
        ),
        ("cosines.0.matrix", [[1.0]], r"cosines\[0\]\.matrix: expected 2 rows of 2 cosines"),
        ("grid.0.layer", 3.0, r"grid\[0\]\.layer: expected a whole number, got 3\.0"),
        ("behaviours", [], r"behaviours: expected at least one behaviour"),
        ("finding", "all moved", r"finding: expected a list, got 'all moved'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(place, value, message):
    with pytest.raises(DataError, match=message):
        parsed(put(SMALL, place, value))


@pytest.mark.parametrize("key", sorted(SMALL))
def test_no_part_of_the_record_may_be_missing(key):
    with pytest.raises(DataError, match=f"expected the key '{key}'"):
        parsed(put(SMALL, key, ...))


def test_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(FileError, match=r"expected a run folder with behaviours\.json, but .* does not exist"):
        read_behaviours(tmp_path)
    write_folder(tmp_path, SMALL)
    (tmp_path / "behaviours.json").write_text(json.dumps(SMALL)[:500])
    with pytest.raises(FileError, match=r"behaviours\.json is not valid JSON .*; remove it and run the study again"):
        read_behaviours(tmp_path)
    (tmp_path / "behaviours.json").write_text("[]")
    with pytest.raises(DataError, match=r"behaviours\.json: expected an object, got a list"):
        read_behaviours(tmp_path)


def test_the_share_given_most_is_taken_from_the_collapse_sentence_where_it_is_not_recorded():
    record = parsed(behaviours(NAMES[:2], given=False))
    shares = {each.collapsed: each.given for each in record.letters}
    assert shares[True] == pytest.approx(0.99, abs=0.02)
    assert shares[False] is None
