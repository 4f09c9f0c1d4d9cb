"""The store survives a kill at any byte and a full disk, and says which line it cannot read."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disks import FULL_DISKS, seemingly, tiny_disk
from steersman.errors import FileError
from steersman.runs import ItemStore, open_run
from steersman.tasks import Outcome

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OUTCOMES = st.builds(
    Outcome,
    TEXT,
    st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=3),
)


def outcome(number: int) -> Outcome:
    return Outcome(f"item {number}", {"rate": number / 3}, {"text": f"line\u2028one\r\nline {number} “ü”"})


def reopened(path):
    store = ItemStore(path)
    store.close()
    return dict(store)


@pytest.fixture
def path(tmp_path):
    """A store of three items."""
    store = ItemStore(tmp_path / "items.jsonl")
    for number in range(3):
        store[f"key {number}"] = outcome(number)
    store.close()
    return store.path


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXT, OUTCOMES), max_size=5))
def test_what_is_put_in_is_there_and_comes_back(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("store") / "items.jsonl"
    store = ItemStore(path)
    for key, value in items:
        store[key] = value
        # On disk at once, before the store is closed.
        assert reopened(path)[key] == value
    store.close()
    assert dict(store) == dict(items) == reopened(path)
    assert len(store) == len(dict(items))


def test_the_store_only_grows(path):
    before = path.read_bytes()
    store = ItemStore(path)
    with pytest.raises(TypeError, match="append-only; key 0 stays"):
        del store["key 0"]
    store["key 3"] = outcome(3)
    store["key 0"] = outcome(4)
    store.close()
    assert path.read_bytes().startswith(before)
    assert reopened(path) == {"key 0": outcome(4), "key 1": outcome(1), "key 2": outcome(2), "key 3": outcome(3)}


def test_a_store_cut_at_any_byte_loses_only_the_line_cut(path):
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        store = ItemStore(path)
        assert dict(store) == {f"key {number}": outcome(number) for number in range(whole)}
        store["next"] = outcome(9)
        store.close()
        assert list(reopened(path)) == [*(f"key {number}" for number in range(whole)), "next"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'"text"',
        b"null",
        b'{"key": "a"}',
        b'{"item": "a", "metrics": {}, "details": {}}',
        b"\xff",
    ],
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_whole_line_is_named_and_nothing_is_changed(path, line, number):
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"items\.jsonl, line {number}: expected a finished item; move the file away"):
        ItemStore(path)
    assert path.read_bytes() == content


def test_a_number_that_is_none_is_not_kept(path):
    store = ItemStore(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store["bad"] = Outcome("bad", {"rate": float("nan")})
    store.close()
    assert list(reopened(path)) == ["key 0", "key 1", "key 2"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_line_is_taken_back(path, monkeypatch, error):
    store = ItemStore(path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(error):
            store["key 3"] = outcome(3)
    assert path.read_bytes() == before
    assert "key 3" not in store
    store["key 4"] = outcome(4)
    store.close()
    assert list(reopened(path)) == ["key 0", "key 1", "key 2", "key 4"]


def test_a_disk_that_looks_full_leaves_earlier_items(path):
    store = ItemStore(path)
    before = path.read_bytes()
    with (
        FULL_DISKS["simulated"](path.parent),
        pytest.raises(FileError, match=r"items\.jsonl: the disk is full; make room and run the same command again"),
    ):
        store["key 3"] = outcome(3)
    store.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [kind for kind in FULL_DISKS if kind == "mounted"])
def test_a_disk_that_fills_up_leaves_earlier_items_and_the_same_store_goes_on(tmp_path, kind):
    with tiny_disk(tmp_path / "disk", "8k") as disk:
        blocker = disk / "blocker"
        blocker.write_bytes(b"\0" * 4096)
        store = ItemStore(disk / "items.jsonl")
        store["small"] = outcome(0)
        large = Outcome("large", {}, {"text": "x" * 6_000})
        with pytest.raises(FileError, match="the disk is full"):
            store["large"] = large
        store.close()
        assert reopened(store.path) == {"small": outcome(0)}
        blocker.unlink()
        store = ItemStore(store.path)
        store["large"] = large
        store.close()
        assert reopened(store.path) == {"small": outcome(0), "large": large}


def test_a_store_that_cannot_be_opened_is_said(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path in (tmp_path / "file" / "items.jsonl", tmp_path):
        with pytest.raises(FileError, match="cannot be written"):
            ItemStore(path)


# Run folders.

CONFIG = {"study": "refusal", "seed": 0, "prompt": "größer"}


def test_a_run_folder_goes_on_with_the_same_configuration(tmp_path):
    first = open_run(tmp_path / "runs" / "a", CONFIG)
    first["key"] = outcome(0)
    first.close()
    second = open_run(tmp_path / "runs" / "a", dict(CONFIG))
    second.close()
    assert dict(second) == {"key": outcome(0)}


def test_another_configuration_takes_force_and_keeps_the_items(tmp_path):
    first = open_run(tmp_path, CONFIG)
    first["key"] = outcome(0)
    first.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = {**CONFIG, "seed": 1}
    with pytest.raises(FileError, match=r"holds a run with other settings; give another --out, or --force to take it"):
        open_run(tmp_path, other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    forced = open_run(tmp_path, other, force=True)
    forced.close()
    assert dict(forced) == {"key": outcome(0)}
    open_run(tmp_path, other).close()


def test_a_damaged_configuration_is_another_one(tmp_path):
    open_run(tmp_path, CONFIG).close()
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="holds a run with other settings"):
        open_run(tmp_path, CONFIG)


@pytest.mark.parametrize(("code", "match"), [(30, "no permission to write there"), (28, "the disk is full")])
def test_a_run_folder_that_cannot_be_written_is_said(tmp_path, code, match):
    with seemingly(code, tmp_path / "run") as folder, pytest.raises(FileError, match=match):
        open_run(folder, CONFIG)
    assert list(folder.iterdir()) == []
