"""The store survives a kill at any byte and a full disk, and says which line it cannot read."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
    """What another process would find: read from a copy, since the store may still be open."""
    with tempfile.TemporaryDirectory() as folder:
        store = ItemStore(Path(shutil.copy(path, folder)))
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
        whole = max(0, content[:length].count(b"\n") - 1)
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
@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_damaged_whole_line_is_named_and_nothing_is_changed(path, line, number):
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line
    content = b"\n".join(lines) + b"\n"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"items\.jsonl, line {number}: expected a (finished item|JSON object); move"):
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


# Other versions.

OLD = [{"key": f"key {n}", "item": f"item {n}", "metrics": {"rate": n / 4}, "details": {"text": "ü"}} for n in range(3)]


def old_file(path, records=OLD, tail=b""):
    path.write_bytes(b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records) + tail)
    return path


@pytest.mark.parametrize("tail", [b"", b'{"key": "cut sh'])
def test_an_older_store_is_kept_aside_untouched_and_read_along(tmp_path, tail):
    path = old_file(tmp_path / "items.jsonl", tail=tail)
    before = path.read_bytes()
    wanted = {record["key"]: Outcome(record["item"], record["metrics"], record["details"]) for record in OLD}
    for more in range(2):  # once when it is moved aside, once when it stands there
        store = ItemStore(path)
        assert dict(store) == wanted
        store[f"new {more}"] = wanted[f"new {more}"] = outcome(more)
        store.close()
        assert (tmp_path / "items.v1.jsonl").read_bytes() == before
    assert path.read_text(encoding="utf-8").splitlines()[0] == '{"steersman": "items", "format": 2}'
    assert len(path.read_bytes().splitlines()) == 3


def test_an_older_store_cut_in_its_first_line_holds_nothing(tmp_path):
    whole = old_file(tmp_path / "whole.jsonl", OLD[:1]).read_bytes()[:-1]
    for length in range(1, len(whole)):
        path = tmp_path / f"{length}.jsonl"
        path.write_bytes(whole[:length])
        store = ItemStore(path)
        store.close()
        assert dict(store) == {}


def test_a_damaged_older_store_is_named_and_left_where_it_is(tmp_path):
    path = old_file(tmp_path / "items.jsonl", [OLD[0], {"key": "a"}, OLD[2]])
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"items\.jsonl, line 2: expected a finished item; move the file away"):
        ItemStore(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"items.jsonl": before}


def test_two_older_stores_are_one_too_many(tmp_path):
    path = old_file(tmp_path / "items.jsonl")
    old_file(tmp_path / "items.v1.jsonl")
    with pytest.raises(FileError, match=r"format 1 stands where items\.v1\.jsonl is kept already; move one"):
        ItemStore(path)
    assert path.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            b'{"steersman": "items", "format": 3}\n{"a": 1}\n{"cut',
            r"expected format 2 of items, got 3, which a newer ver",
        ),
        (b'{"steersman": "items", "format": "x"}\n', r"expected format 2 of items, got 'x', which another version"),
        (
            b'{"steersman": "judgements", "format": 2}\n',
            r"expected a file of items of steersman, format 2, got one tha",
        ),
        (b'{"some": "thing"}\n{"cut', r"expected a file of items of steersman"),
        (b"a note without an end", r"expected a file of items of steersman"),
        (b"a note\n", r"line 1: expected a JSON object"),
    ],
)
def test_what_another_version_or_program_wrote_is_said_and_not_touched(tmp_path, content, match):
    path = tmp_path / "items.jsonl"
    path.write_bytes(content)
    with pytest.raises(FileError, match=match):
        ItemStore(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"items.jsonl": content}


# Two processes.

HOLD = """
import sys
from pathlib import Path
from steersman.runs import open_run
store = open_run(Path(sys.argv[1]), {"seed": 0})
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_and_a_killed_one_lets_go(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for force in (False, True):
            with pytest.raises(FileError, match=r"items\.jsonl is in use by another process; wait until it has finis"):
                open_run(tmp_path, {"seed": int(force)}, force=force)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        holder.kill()
    store = open_run(tmp_path, {"seed": 0})
    store["key"] = outcome(0)
    store.close()
    assert reopened(store.path) == {"key": outcome(0)}


def test_a_disk_that_cannot_lock_is_used_without(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = ItemStore(tmp_path / "items.jsonl")
    store["key"] = outcome(0)
    store.close()
    assert reopened(store.path) == {"key": outcome(0)}
