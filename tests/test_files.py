"""Direction files: exact, all or nothing, and one clear sentence for every file that is not one."""

import errno
import json
import os
import re
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from disks import FULL_DISKS, seemingly
from steersman.activations import Origin
from steersman.direction import Direction
from steersman.errors import FileError, MismatchError
from steersman.files import (
    check_target,
    facts_of,
    load_direction,
    save_direction,
    write_bytes,
    write_json,
    write_text,
)
from steersman.files.container import FORMAT, LARGEST, canonical, checksum
from steersman.intervention import steer
from steersman.plan import Plan
from steersman.version import VERSION
from steersman.where import POINTS, SPANS, Site
from tiny import DEPTH, WIDTH, direction

SITE = "resid_post.1"


def header(**changes: object) -> dict[str, object]:
    """Return the header of a direction with one site of width 4 in a model of depth 3, changed."""
    origin = asdict(Origin("tiny", "0" * 64, "", 4, 3, "completion", "0" * 64, 8))
    content = {"kind": "steersman direction", "format": 1, "version": "0", "method": "made up", "origin": origin}
    return content | {"norms": {SITE: 2.0}, "diagnostics": {"separation": {SITE: 0.75}}, "seed": None} | changes


def write_raw(path: Path, content: object, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a safetensors file with a header of any kind."""
    text = content if isinstance(content, str) else json.dumps(content)
    save_file({SITE: torch.ones(4)} if tensors is None else tensors, path, {"steersman": text})
    return path


def origin_but(**changes: object) -> dict[str, object]:
    """Return the header with some of the origin's fields changed."""
    return header(origin={**header()["origin"], **changes})  # type: ignore[dict-item]


def without(record: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in record.items() if key != name}


@pytest.fixture
def file(tmp_path):
    return save_direction(direction(3, [0, 2]), tmp_path / "direction.safetensors")


# What is saved comes back.

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
NUMBERS = st.floats(1e-15, 1e15)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


points = st.sampled_from([point for point in POINTS if point != "head"])
places = st.lists(st.integers(0, 10**9), min_size=1, unique=True).map(sorted)
words = st.sampled_from(SPANS) | st.builds("first({})".format, st.integers(1, 10**9))
words |= places.map(lambda numbers: f"positions({','.join(map(str, numbers))})")
spans = st.builds(str.__add__, words, st.sampled_from(["", "-bos"]))


def site_at(layer):
    """A site of any kind in a layer."""
    return st.one_of(points.map(lambda p: Site(layer, p)), st.integers(0, 99).map(lambda h: Site(layer, "head", h)))


@st.composite
def directions(draw):
    width, depth = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    layers = draw(st.lists(st.integers(0, depth - 1), min_size=1, max_size=4, unique=True))
    rows = st.lists(FLOATS, min_size=width, max_size=width).map(torch.tensor).filter(lambda row: 0 < row.norm() < 1e38)
    sites = [draw(site_at(layer)) for layer in layers]
    texts = [draw(TEXTS) for _ in range(5)]
    origin = Origin(texts[0], texts[1], texts[2], width, depth, draw(spans), texts[3], draw(st.integers(0)))
    names = draw(st.lists(TEXTS, max_size=2, unique=True))
    # Made in the test, since the type checker draws lots, which a strategy must not.
    return partial(
        Direction,
        # A head's vector may be narrower than the stream.
        {site: draw(rows) if site.head is None else draw(rows)[:1].abs() + 0.5 for site in sites},
        {site: draw(NUMBERS) for site in sites},
        origin,
        texts[4],
        {name: {site: draw(FLOATS) for site in sites[:2]} for name in names},
    )


@settings(max_examples=300, deadline=None)
@given(directions())
def test_what_is_saved_comes_back_to_the_bit(tmp_path_factory, make):
    held = make()
    path = tmp_path_factory.getbasetemp() / "law.safetensors"
    save_direction(held, path, force=True)
    back = load_direction(path)
    assert back.sites == held.sites
    for site in held.sites:
        assert back.vectors[site].dtype == torch.float32
        assert torch.equal(back.vectors[site].view(torch.int32), held.vectors[site].view(torch.int32))
    assert replace(back, vectors=held.vectors) == held


def test_equal_directions_give_equal_files_and_steer_alike(tmp_path):
    held = direction(3, [0, 2])
    turned = replace(held, vectors=dict(reversed(held.vectors.items())))
    one, two = (save_direction(d, tmp_path / f"{i}.safetensors", seed=7) for i, d in enumerate((held, turned)))
    assert one.read_bytes() == two.read_bytes()
    assert Plan(load_direction(one), coefficient=0.3).digest() == Plan(held, coefficient=0.3).digest()


def test_the_file_holds_plain_tensors_and_json(file):
    assert {name: tuple(tensor.shape) for name, tensor in load_file(file).items()} == {
        "resid_post.0": (WIDTH,),
        "resid_post.2": (WIDTH,),
    }
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_figure_that_is_not_finite_is_left_out(tmp_path):
    held = replace(direction(3, [0, 2]), diagnostics={"vote_share": {Site(0): float("nan"), Site(2): 0.5}})
    back = load_direction(save_direction(held, tmp_path / "d.safetensors"))
    assert back.diagnostics == {"vote_share": {Site(2): 0.5}}


def test_the_file_says_who_wrote_it(tmp_path):
    facts = facts_of(save_direction(direction(), tmp_path / "d.safetensors", seed=7))
    assert (facts.kind, facts.format, facts.version, facts.seed) == ("steersman direction", FORMAT, VERSION, 7)
    assert len(facts.sha256) == 64
    assert facts_of(write_raw(tmp_path / "old.safetensors", header())).sha256 == ""


# The sum: what was written is what is read.


def sealed_raw(path: Path, content: dict[str, object], tensors: dict[str, torch.Tensor]) -> Path:
    """Write a file of today's format with a sum that is right, whatever the header says."""
    content = content | {"format": FORMAT}
    return write_raw(path, canonical(content | {"sha256": checksum(content, tensors)}), tensors)


def test_a_right_sum_is_taken_and_any_other_refused(tmp_path):
    path, tensors = tmp_path / "d.safetensors", {SITE: torch.ones(4)}
    assert load_direction(sealed_raw(path, header(), tensors)).sites == [Site(1)]
    for sum_ in (None, "", "0" * 64, 7):
        refused(write_raw(path, header(format=FORMAT, sha256=sum_)), "expected the sha256 .* it was damaged or changed")
    refused(write_raw(path, header(format=FORMAT)), "expected the sha256")
    # What says to be of the old format does not escape its sum.
    refused(write_raw(path, header(sha256="0" * 64)), "expected the sha256")


def test_other_spaces_in_the_header_are_a_change(tmp_path):
    content = header(format=FORMAT)
    content |= {"sha256": checksum(content, {SITE: torch.ones(4)})}
    path = tmp_path / "d.safetensors"
    assert load_direction(write_raw(path, canonical(content))).sites == [Site(1)]
    refused(write_raw(path, canonical(content).replace(": ", ":  ", 1)), "expected the sha256")


def test_every_flipped_bit_is_refused(tmp_path):
    path = save_direction(direction(3, [0], width=2), tmp_path / "small.safetensors", seed=1)
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(8 * len(content)):
            broken = bytearray(content)
            broken[place // 8] ^= 1 << place % 8
            os.pwrite(file.fileno(), broken, 0)
            with pytest.raises(FileError, match=re.escape(str(path))):
                load_direction(path)
    path.write_bytes(content)
    assert load_direction(path).sites == [Site(0)]


# What would not be a file like others is not waited for.


def test_a_pipe_a_loop_a_device_and_a_huge_file_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "expected a file, got a folder, a pipe or a device")
    refused(Path("/dev/zero"), "expected a file, got a folder, a pipe or a device")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    refused(tmp_path / "loop.safetensors", "cannot be read: Too many levels of symbolic links")
    with (tmp_path / "huge.safetensors").open("wb") as file:
        file.truncate(LARGEST + 1)
    refused(tmp_path / "huge.safetensors", "expected an artifact of at most 1,073,741,824 bytes, got 1,073,741,825")
    with pytest.raises(FileError, match=r"'a\\x00b': expected the path of a file"):
        load_direction("a\0b")
    assert load_direction_through_a_link(tmp_path) == [Site(1)]


def load_direction_through_a_link(folder: Path) -> list[Site]:
    save_direction(direction(), folder / "real.safetensors")
    (folder / "link.safetensors").symlink_to("real.safetensors")
    return load_direction(folder / "link.safetensors").sites


# Nothing is overwritten, nothing is left half written.


def test_a_file_is_replaced_only_by_force(file):
    before = file.read_bytes()
    other = direction(4, [1])
    with pytest.raises(FileError, match=r"direction\.safetensors exists already; give another name, or --force"):
        save_direction(other, file)
    with pytest.raises(FileError, match="exists already"):
        check_target(file)
    assert file.read_bytes() == before
    save_direction(other, check_target(file, force=True), force=True)
    assert load_direction(file).sites == [Site(1)]


@pytest.mark.parametrize("name", ["direction", "direction.pt", "direction.safetensors.gz"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(FileError, match=rf"expected a file name ending in \.safetensors, got '{name}'"):
        save_direction(direction(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["fdopen", "fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(file, monkeypatch, stage, error):
    before = file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path if stage in ("chmod", "replace") else os, stage, fail)
    wanted = FileError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted, match="cannot be written: Input/output error" if wanted is FileError else None):
        write_bytes(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("kind", FULL_DISKS)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, kind):
    with FULL_DISKS[kind](tmp_path / "disk") as disk:
        before = sorted(disk.iterdir())
        with pytest.raises(FileError, match=r"new\.safetensors: the disk is full; make room and run the same command"):
            save_direction(direction(0, range(4), width=5_000), disk / "new.safetensors")
        assert sorted(disk.iterdir()) == before


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_may_not_be_written_is_said(tmp_path, code):
    with (
        seemingly(code, tmp_path / "closed") as folder,
        pytest.raises(FileError, match=r"new\.json: no permission to write there; give a folder that you may write to"),
    ):
        write_json(folder / "new.json", {})
    assert list(folder.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_and_a_file_in_the_place_of_a_folder_are_said(file):
    folder = file.parent / "folder"
    folder.mkdir()
    for path in (folder, file / "inside.json", file.parent / ("n" * 300)):
        with pytest.raises(FileError, match="cannot be written"):
            write_text(path, "x")
    assert sorted(file.parent.iterdir()) == [file, folder]
    assert list(folder.iterdir()) == []


def test_folders_on_the_way_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"ü": [1, None]})
    assert json.loads((tmp_path / "a" / "b" / "c.json").read_text(encoding="utf-8")) == {"ü": [1, None]}


# What is not a direction is refused in one sentence.


def refused(path: Path, match: str) -> None:
    with pytest.raises(FileError, match=match) as caught:
        load_direction(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    refused(tmp_path / "none.safetensors", "expected a direction file, got .* which does not exist")
    refused(tmp_path, "expected a file, got a folder, a pipe or a device")
    refused(tmp_path / ("n" * 300), "cannot be read: File name too long")


def test_a_file_cut_off_anywhere_is_refused(file, tmp_path):
    content = file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in [*range(40), *range(40, len(content), 23), len(content) - 1]:
        cut.write_bytes(content[:length])
        refused(cut, "expected a safetensors file, got one that is damaged or of another kind")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04K\x01.", b"PK\x03\x04" + b"\0" * 100, b"GGUF" + b"\0" * 100, b"{}", b"\xff" * 64, b"\0" * 64],
    ids=["empty", "pickle", "zip", "gguf", "json", "ones", "zeros"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    refused(path, "damaged or of another kind|without its header")


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"steersman": "{"}, {"steersman": "[]"}, {"steersman": "null"}]
)
def test_a_foreign_safetensors_file_is_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata)
    refused(path, "expected a direction saved by steersman, got a safetensors file without its header")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a": 1, "a": 1}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"n": ' + "1" * 5_000 + "}",
        '{"kind": "another"}',
        '"x"',
    ],
)
def test_a_header_that_is_no_header_is_refused(tmp_path, text):
    refused(write_raw(tmp_path / "d.safetensors", text), "without its header")


@pytest.mark.parametrize("number", [0, FORMAT + 1, "1", None])
def test_another_format_is_refused(tmp_path, number):
    path = write_raw(tmp_path / "d.safetensors", header(format=number))
    refused(path, rf"expected format 1 to {FORMAT}, got {number!r}; update steersman")


def test_the_plain_header_is_taken(tmp_path):
    # What the refusals below change; without this they could all fail for another reason.
    assert load_direction(write_raw(tmp_path / "d.safetensors", header())).sites == [Site(1)]


@pytest.mark.parametrize("name", ["method", "origin", "norms", "diagnostics"])
def test_a_missing_field_is_named(tmp_path, name):
    refused(write_raw(tmp_path / "d.safetensors", without(header(), name)), rf"header, got one without '{name}'")


@pytest.mark.parametrize("name", ["model", "revision", "template", "width", "depth", "span", "data", "n"])
def test_a_missing_or_wrong_origin_field_is_named(tmp_path, name):
    origin = header()["origin"]
    assert isinstance(origin, dict)
    path = tmp_path / "d.safetensors"
    refused(write_raw(path, header(origin=without(origin, name))), f"got one without '{name}'")
    for wrong in (None, [], {}, True, 1.5):
        refused(write_raw(path, origin_but(**{name: wrong})), f"wrong field \\('{name}' is {type(wrong).__name__}\\)")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header(method=1), "'method' is int"),
        (header(norms=[2.0]), "'norms' is list"),
        (header(norms={SITE: "2"}), f"'{SITE}' is str"),
        (header(norms={SITE: 10**400}), "too large"),
        (header(norms={SITE: 0.0}), "expected a positive residual norm"),
        (header(norms={SITE: -1.0}), "expected a positive residual norm"),
        (header(norms={SITE: float("nan")}), "without its header"),
        (header(norms={SITE: float("inf")}), "without its header"),
        (header(norms={}), "a residual norm for every site"),
        (header(norms={SITE: 1.0, "resid_post.2": 1.0}), "a residual norm for every site"),
        (header(norms={"block.1": 1.0}), "expected a site such as 'resid_post.14' or .*, got 'block.1'"),
        (header(diagnostics={"separation": 0.5}), "'separation' is float"),
        (header(diagnostics={"separation": {SITE: None}}), f"'{SITE}' is NoneType"),
        (header(diagnostics={"separation": {"x": 1.0}}), "expected a site"),
        (origin_but(span="everything"), "expected a span among"),
        (origin_but(width=5), "expected width 5 at resid_post.1, got shape"),
        (origin_but(width=0), "expected 'width' of at least 1, got 0"),
        (origin_but(depth=-1), "expected 'depth' of at least 1, got -1"),
        (origin_but(n=-1), "expected 'n' of at least 0, got -1"),
        (header(norms={SITE: 1.0, "resid_post.01": 1.0}), "expected the site resid_post.1, got 'resid_post.01'"),
        (header(seed="7"), "'seed' is str"),
        (header(version=None), "'version' is NoneType"),
        (origin_but(depth=1), "expected a layer below 1, got resid_post.1"),
    ],
)
def test_a_wrong_value_is_told(tmp_path, content, match):
    refused(write_raw(tmp_path / "d.safetensors", content), match)


DTYPES = {"F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "BOOL": torch.bool}


@pytest.mark.parametrize("name", DTYPES)
def test_another_type_is_refused(tmp_path, name):
    path = write_raw(tmp_path / "d.safetensors", header(), {SITE: torch.ones(4, dtype=DTYPES[name])})
    refused(path, rf"expected a float32 vector at {SITE}, got {name} of shape \(4,\)")


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({}, "at least one site"),
        ({SITE: torch.ones(3)}, r"expected width 4 at resid_post.1, got shape \(3,\)"),
        ({SITE: torch.ones(1, 4)}, r"expected a float32 vector at resid_post.1, got F32 of shape \(1, 4\)"),
        ({SITE: torch.tensor(1.0)}, r"of shape \(\)"),
        ({SITE: torch.tensor([1.0, float("nan"), 1.0, 1.0])}, "got NaN or infinity"),
        ({SITE: torch.tensor([1.0, float("inf"), 1.0, 1.0])}, "got NaN or infinity"),
        ({SITE: torch.zeros(4)}, "positive length at resid_post.1, got zero"),
        ({"resid_post.2": torch.ones(4)}, "a residual norm for every site"),
        ({"weight": torch.ones(4)}, "expected a site such as"),
        ({"resid_post.-1": torch.ones(4)}, "expected a site such as"),
        ({SITE: torch.ones(4), "resid_post.01": torch.ones(4)}, "expected the site resid_post.1, got 'resid_post.01'"),
        ({SITE: torch.ones(0)}, "expected a vector at resid_post.1, got one of width 0"),
        ({SITE: torch.full((4,), 3e38)}, "a vector at resid_post.1 whose length is a float32 number"),
    ],
)
def test_a_wrong_vector_is_told(tmp_path, tensors, match):
    refused(write_raw(tmp_path / "d.safetensors", header(), tensors), match)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([SITE, "x"]), inner, max_size=2),
    max_leaves=4,
)
PLACES = [
    ("kind",),
    ("format",),
    ("method",),
    ("norms",),
    ("norms", SITE),
    ("diagnostics",),
    ("diagnostics", "separation"),
]
PLACES += [("diagnostics", "separation", SITE), ("origin",), *(("origin", name) for name in header()["origin"])]  # type: ignore[attr-defined]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_header_loads_or_is_refused_in_a_sentence(tmp_path_factory, place, value):
    content = json.loads(json.dumps(header()))
    record = content
    for name in place[:-1]:
        record = record[name]
    record[place[-1]] = value
    path = write_raw(tmp_path_factory.getbasetemp() / "law.safetensors", content)
    message, held = None, None
    try:
        held = load_direction(path)
    except FileError as error:
        message = str(error)
    if held is None:
        assert str(message).startswith(f"{path}: expected")
    else:
        save_direction(held, path, force=True)
        again = load_direction(path)
        assert (again.norms, again.origin, again.method) == (held.norms, held.origin, held.method)


# A sound file may still belong to another model.


@pytest.mark.parametrize(("depth", "width"), [(DEPTH, 2 * WIDTH), (DEPTH + 1, WIDTH)])
def test_a_direction_of_another_model_does_not_steer_this_one(tmp_path, llama, depth, width):
    path = save_direction(direction(depth=depth, width=width), tmp_path / "d.safetensors")
    plan = Plan(load_direction(path))
    message = rf"expected a direction of width {WIDTH} for {DEPTH} layers .*, got width {width} for {depth} layers"
    with pytest.raises(MismatchError, match=message), steer(llama, plan):
        pass
    with pytest.raises(MismatchError, match=message):
        llama.generate("Hi", plan, max_new_tokens=1)
