"""Ten thousand broken and hostile files: each is refused in a sentence, or is sound after all; nothing else happens.

Files whose bytes were damaged must be refused without exception. Files made up by somebody who knows the format carry a
right sum; such a one may load, and then it must hold what its checks promise and come back from a second file.
"""

import copy
import io
import json
import os
import pickle
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from steersman.direction import Direction
from steersman.edits import Ablate, Add, Clamp, Rotate
from steersman.errors import FileError
from steersman.files import load_direction, load_plan, save_direction, save_plan
from steersman.files.container import canonical, checksum
from steersman.gates import Gate
from steersman.plan import Plan
from steersman.where import Site, Span
from tiny import origin

CASES = 10_000
LOAD: dict[str, Callable[[Path], Direction | Plan]] = {"direction": load_direction, "plan": load_plan}


@dataclass(frozen=True)
class Sample:
    """A sound file, whole and in its parts."""

    kind: str
    content: bytes
    header: dict[str, Any]
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A file that is not as it should be."""

    family: str
    kind: str
    content: bytes


def sound_direction() -> Direction:
    sites = [Site(0, "attn_out"), Site(1, "head", 3), Site(1), Site(3, "mlp_out")]
    vectors = {site: torch.linspace(-1, 1.5, 2 if site.head is not None else 4) for site in sites}
    known = replace(origin(4, 4), span="first(3)-bos")
    return Direction(vectors, dict.fromkeys(sites, 2.5), known, "made up", {"separation": {sites[0]: 0.75}})


def sound_plan() -> Plan:
    one = Direction({Site(1): torch.arange(1.0, 5)}, {Site(1): 3.0}, origin(4, 4), "made up")
    two = replace(one, vectors={Site(1): torch.ones(4)})
    gate = Gate(Site(0), torch.ones(4), 0.5, "token", "probe", -1.0, below=True)
    steps = [Plan(one, Add(), span="positions(0,2)-bos", coefficient=-0.3), Plan(one, Ablate(), coefficient=0.5)]
    steps += [Plan(one, Clamp(0.25, "above"), gate=gate, unit="raw"), Plan(one, Rotate(30.0), second=two)]
    return sum(steps, Plan())


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("sound")
    paths = {
        "direction": save_direction(sound_direction(), folder / "direction.safetensors", seed=5),
        "plan": save_plan(sound_plan(), folder / "plan.safetensors"),
    }
    found: list[Sample] = []
    for kind, path in paths.items():
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["steersman"])
        found.append(Sample(kind, path.read_bytes(), header, load_file(path)))
    return found


# Damage: what a disk, a network or an editor does to a sound file.


def damaged(sample: Sample, luck: random.Random) -> Iterator[Case]:
    """Yield the sample cut off, flipped, lengthened, shortened, overwritten and shuffled, without end."""
    content = sample.content
    size, head = len(content), 8 + int.from_bytes(content[:8], "little")
    edges = [*range(24), *range(head - 12, head + 12), *range(size - 12, size)]
    while True:
        cut = luck.choice(edges) if luck.random() < 0.3 else luck.randrange(size)
        yield Case("cut off", sample.kind, content[:cut])
        for _ in range(4):
            place = luck.randrange(8 * size)
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            yield Case("one bit flipped", sample.kind, bytes(flipped))
        other = bytearray(content)
        other[luck.randrange(size)] ^= luck.randrange(1, 256)
        yield Case("one byte changed", sample.kind, bytes(other))
        place, width = luck.randrange(size), luck.choice([1, 1, 2, 4, 8, 100])
        yield Case("bytes put in", sample.kind, content[:place] + luck.randbytes(width) + content[place:])
        yield Case("bytes taken out", sample.kind, content[:place] + content[place + width :])
        noise = luck.randbytes(width)
        if content[place : place + width] != noise:
            yield Case("bytes overwritten", sample.kind, content[:place] + noise + content[place + width :])
        yield Case("lengthened", sample.kind, content + luck.choice([b"\0", b" ", b"\n", content, luck.randbytes(40)]))
        # Behind the JSON of the header: data moved against data.
        one, two = sorted(luck.sample(range(head, size), 2))
        turned = content[:head] + content[two:] + content[one:two] + content[head:one]
        if turned != content:
            yield Case("data shuffled", sample.kind, turned)


# Malice: what somebody writes who knows the format.

WRONG: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 1.5, -0.0, 1e300, 1e-320, 10**30, -(10**30), 10**400, "", "x", "x" * 5_000),
    *([], {}, [[]], {"a": 1}, [1.0] * 50, {"resid_post.1": 1.0}, {"": {"": {}}}, "\ud800", "\udfff\ud800", "\0", "é"),
    *("resid_post.-1", "resid_post.99999999999999", "resid_post.01", "resid_post.1 ", "head.1", "head.1.3.4", "x.1"),
    *("first(999999999999999999999)", "first(-1)", "positions()", "positions(" + "1," * 2_000 + ")", "end", "all-bos"),
    *(f"first({'9' * 5_000})", "all\n", "../../etc/passwd", "add", "rotate", "run", "__class__", "steersman plan"),
]
TEXTS = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5_000, "0." + "1" * 5_000, "[" * 900 + "]" * 900),
    *("[" * 50_000 + "]" * 50_000, '{"a":' * 900 + "1" + "}" * 900, '{"a": 1, "a": 2}', "", "1 2", "'x'", "0x1", "\0"),
    *('"\\ud800"', '"\\u0000"', "// 1", "nul", "\ufeff1", "1e5", "1.0", "-0"),
]


def contained(metadata: Any, tensors: dict[str, torch.Tensor]) -> bytes:
    """Return the container's bytes for a header of any kind, JSON or not."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, tensor in tensors.items():
        more = tensor.numpy().tobytes()
        kind = {
            torch.float32: "F32",
            torch.float16: "F16",
            torch.float64: "F64",
            torch.int32: "I32",
            torch.bool: "BOOL",
        }
        offsets = [len(data), len(data) + len(more)]
        entries[name] = {"dtype": kind[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += more
    return wrapped(json.dumps(entries), data)


def wrapped(text: str, data: bytes, size: int | None = None) -> bytes:
    head = text.encode("utf-8", "surrogatepass")
    return (len(head) if size is None else size).to_bytes(8, "little") + head + data


def sealed(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """Return a file with a right sum where there can be one."""
    plain = {name: value for name, value in header.items() if name != "sha256"}
    try:
        text = canonical(plain | {"sha256": checksum(plain, tensors)})
    except (ValueError, TypeError, RuntimeError):
        text = json.dumps(plain)
    return contained({"steersman": text}, tensors)


def places_in(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a header."""
    entries = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places_in(value, (*path, key))


def lied(sample: Sample, luck: random.Random) -> Iterator[Case]:
    """Yield the sample with a header that says something else, and a right sum, without end."""
    places = [path for path in places_in(sample.header) if path != ("sha256",)]
    while True:
        header = copy.deepcopy(sample.header)
        for path in luck.sample(places, luck.choice([1, 1, 1, 2, 3])):
            change(header, path, luck)
        yield Case("a lying header", sample.kind, sealed(header, sample.tensors))
        # Without a sum, which format 1 did not have.
        path = luck.choice(places)
        header = copy.deepcopy(sample.header) | {"format": 1}
        del header["sha256"]
        change(header, path, luck, "@text@")
        text = json.dumps(header, sort_keys=True).replace('"@text@"', luck.choice(TEXTS))
        yield Case("a header that is hardly JSON", sample.kind, contained({"steersman": text}, sample.tensors))


def change(header: Any, path: tuple[Any, ...], luck: random.Random, value: Any = None) -> None:
    """Replace, remove, rename or double what stands at a place, in place; nothing where the way there is gone."""
    record = header
    try:
        for key in path[:-1]:
            record = record[key]
        old = record[path[-1]]
    except (KeyError, IndexError, TypeError):
        return
    if not isinstance(record, dict | list):
        return
    key = path[-1]
    how = "replace" if value is not None else luck.choice(["replace"] * 4 + ["remove", "rename", "more"])
    if isinstance(record, dict) and how in ("rename", "more"):
        record[str(luck.choice(WRONG))[:3_000]] = record.pop(key) if how == "rename" else luck.choice(WRONG)
    elif how == "remove":
        del record[key]
    elif how == "more":
        record.append(copy.deepcopy(old))
    else:
        record[key] = luck.choice(WRONG) if value is None else value


def misshapen(sample: Sample, luck: random.Random) -> Iterator[Case]:
    """Yield the sample with other tensors under the same header and a right sum if there is one, without end."""
    makers: list[Callable[[torch.Tensor], torch.Tensor]] = [
        *(torch.Tensor.half, torch.Tensor.double, torch.Tensor.int, torch.Tensor.bool),
        *(lambda t: t[None], lambda t: t[:0], lambda t: t[0], lambda t: t[:1], lambda t: torch.cat([t, t])),
        *(lambda t: t * 0, lambda t: t * float("nan"), lambda t: t / 0, lambda t: t.sign() * 3e38, lambda t: t * 1e-45),
        *(lambda t: t.flip(0), lambda t: -t, lambda t: t + 1, lambda t: torch.ones(1_000)),
    ]
    while True:
        tensors = dict(sample.tensors)
        for _ in range(luck.choice([1, 1, 2])):
            name = luck.choice(sorted(tensors))
            how = luck.randrange(6)
            if how == 0:
                tensors[str(luck.choice(WRONG))[:2_000].encode(errors="replace").decode()] = tensors.pop(name)
            elif how == 1:
                del tensors[name]
            elif how == 2:
                tensors[luck.choice(["vector.9", "vector.00", "gate.0", "second.0", "resid_post.2", "weight"])] = (
                    torch.ones(4)
                )
            else:
                tensors[name] = luck.choice(makers)(sample.tensors.get(name, torch.ones(4)))
            if not tensors:
                break
        yield Case("other tensors", sample.kind, sealed(sample.header, tensors))


def broken_container(sample: Sample, luck: random.Random) -> Iterator[Case]:
    """Yield containers whose own header lies: about its length, its offsets, its types, its keys, without end."""
    head = 8 + int.from_bytes(sample.content[:8], "little")
    text, data = sample.content[8:head].decode(), sample.content[head:]
    entries = json.loads(text)
    while True:
        size = luck.choice([0, 1, head - 9, head - 7, head + 8, 2**31 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
        yield Case("a lying length", sample.kind, wrapped(text, data, size))
        other = copy.deepcopy(entries)
        name = luck.choice(sorted(set(other) - {"__metadata__"}))
        key = luck.choice(["dtype", "shape", "data_offsets"])
        old = other[name][key]
        bad = luck.choice(
            [None, -1, [-1], [2**62, 2**62], [0, 0], "F32 ", "U8", "F64", [4, 0], [8, 4], {}, [1e3], True]
        )
        if bad != old:
            other[name][key] = bad
            yield Case("a lying entry", sample.kind, wrapped(json.dumps(other), data))
        bad = luck.choice([None, [], "x", {"steersman": 1}, {"steersman": None}, {"steersman": ["x"]}, {}, {"x": "y"}])
        yield Case("other metadata", sample.kind, contained(bad, sample.tensors))
        twice = text.replace('{"__metadata__"', '{"__metadata__":{"steersman":"{}"},"__metadata__"', 1)
        again = text.replace(f'"{name}":', f'"{name}":{json.dumps(entries[name])},"{name}":', 1)
        yield Case("a key twice", sample.kind, wrapped(luck.choice([twice, again]), data))
        odd = luck.choice(TEXTS)
        yield Case("a container that is hardly JSON", sample.kind, wrapped(text[:-1] + ',"x":' + odd + "}", data))
        yield Case("a container that is hardly JSON", sample.kind, wrapped(odd, data))


# Files of another kind under this ending.


def foreign(sample: Sample, luck: random.Random) -> Iterator[Case]:
    """Yield pickles, archives, weights, text and noise, without end."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    stored = io.BytesIO()
    torch.save({"direction": torch.ones(3)}, stored)
    starts = [
        b"GGUF\3\0\0\0",
        b"PK\3\4",
        b"\x80\4\x95",
        b"\x93NUMPY",
        b"\x89HDF",
        b"{",
        b"#!/bin/sh\n",
        b"\xff\xfe",
        b"",
    ]
    yield from (
        Case("of another kind", sample.kind, content)
        for content in (b"", b"{}", b"\0" * 8, b"\xff" * 64, archive.getvalue(), stored.getvalue(), pickle.dumps([1]))
    )
    while True:
        yield Case(
            "of another kind", sample.kind, luck.choice(starts) + luck.randbytes(luck.choice([0, 1, 7, 8, 9, 300]))
        )


FAMILIES = {damaged: 5_200, lied: 2_000, misshapen: 1_200, broken_container: 1_200, foreign: 400}
MAY_LOAD = {"a lying header", "a header that is hardly JSON", "other tensors"}


def cases(samples: list[Sample], seed: int) -> Iterator[Case]:
    """Yield `CASES` cases, half of each kind."""
    for family, number in FAMILIES.items():
        for sample in samples:
            yield from islice(family(sample, random.Random(f"{seed} {family.__name__} {sample.kind}")), number // 2)


def test_ten_thousand_files_are_refused_or_sound(tmp_path, samples, capsys):
    path, second = tmp_path / "case.safetensors", tmp_path / "again.safetensors"
    outcomes: Counter[tuple[str, str]] = Counter()
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for index, case in enumerate(cases(samples, seed=0)):
            rewrite(file.fileno(), case.content)
            try:
                outcome = outcome_of(case, path, second)
            except Exception as error:
                raise AssertionError(f"case {index} ({case.kind}, {case.family}): {error!r}") from error
            outcomes[case.family, outcome] += 1
    seconds = time.perf_counter() - started
    accepted = {family for family, outcome in outcomes if outcome == "sound"}
    with capsys.disabled():
        loaded = sum(number for (_, outcome), number in outcomes.items() if outcome == "sound")
        print(f"\n{outcomes.total():,} files in {seconds:.1f} s: {loaded} sound, the others refused")  # noqa: T201
    assert outcomes.total() == CASES
    assert accepted <= MAY_LOAD
    # Both outcomes must be tried, or the law is empty.
    assert accepted == MAY_LOAD
    assert all(outcomes[family, "refused"] for family in {family for family, _ in outcomes})
    assert seconds < 60
    assert sorted(tmp_path.iterdir()) == [second, path]


def rewrite(handle: int, content: bytes) -> None:
    """Write a file anew without emptying it first, which some file systems answer with a wait for the disk."""
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))


def outcome_of(case: Case, path: Path, second: Path) -> str:
    """Return whether a file was refused as it should be, or loaded and is sound."""
    try:
        held = LOAD[case.kind](path)
    except FileError as error:
        message = str(error)
        assert str(path) in message
        assert len(message.splitlines()) == 1
        assert len(message) < 500 + len(str(path))
        assert "expected" in message
        message.encode()
        return "refused"
    if isinstance(held, Direction):
        check_direction(held)
        save_direction(held, second, force=True)
        again = load_direction(second)
        assert (again.norms, again.origin, again.method) == (held.norms, held.origin, held.method)
        assert Plan(again).digest() == Plan(held).digest()
    else:
        check_plan(held)
        assert load_plan(save_plan(held, second, force=True)) == held
    return "sound"


def check_vector(vector: torch.Tensor, width: int | None) -> None:
    assert vector.dtype == torch.float32
    assert vector.shape == ((width,) if width is not None else (vector.numel(),))
    assert 0 < float(vector.norm()) < float("inf")


def check_direction(held: Direction) -> None:
    known = held.origin
    assert known.width >= 1
    assert known.n >= 0
    assert str(Span.parse(known.span)) == known.span
    for text in (known.model, known.revision, known.template, known.data, held.method, *held.diagnostics):
        text.encode()
    for site, vector in held.vectors.items():
        assert site.layer < known.depth
        check_vector(vector, known.width if site.head is None else None)
        assert 0 < held.norms[site] < float("inf")


def check_plan(held: Plan) -> None:
    for step in held:
        step.check()
        assert type(step.edit) in (Add, Ablate, Clamp, Rotate)
        assert step.site.layer < step.depth
        assert step.span.name != "end"
        assert abs(step.coefficient) < float("inf")
        check_vector(step.vector, step.width if step.site.head is None else None)
        if step.gate is not None:
            check_vector(step.gate.vector, step.width if step.gate.site.head is None else None)


def test_every_cut_and_every_flipped_bit_of_both_kinds_is_refused(tmp_path, samples):
    path = tmp_path / "case.safetensors"
    for sample in samples:
        with path.open("wb", buffering=0) as file:
            for place in range(len(sample.content)):
                for bit in range(8):
                    flipped = bytearray(sample.content)
                    flipped[place] ^= 1 << bit
                    rewrite(file.fileno(), bytes(flipped))
                    with pytest.raises(FileError, match=r"case\.safetensors"):
                        LOAD[sample.kind](path)
                rewrite(file.fileno(), sample.content[:place])
                with pytest.raises(FileError, match=r"case\.safetensors"):
                    LOAD[sample.kind](path)
            rewrite(file.fileno(), sample.content)
            LOAD[sample.kind](path)


# What is not even a file, and what would run.


class Canary:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("kind", LOAD)
def test_nothing_in_a_file_is_run(tmp_path, samples, kind):
    nest = tmp_path / "sung"
    song = pickle.dumps(Canary(nest))
    pickle.loads(song)
    nest.rmdir()  # it does sing where it is let
    stored = io.BytesIO()
    torch.save(Canary(nest), stored)
    (sample,) = (each for each in samples if each.kind == kind)
    texts = [f"!!python/object/apply:os.mkdir ['{nest}']", f"__import__('os').mkdir('{nest}')", song.hex()]
    files = [song, stored.getvalue(), len(song).to_bytes(8, "little") + song, sample.content + song]
    files += [contained({"steersman": text}, sample.tensors) for text in texts]
    path = tmp_path / "song.safetensors"
    for content in files:
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"song\.safetensors: expected"):
            LOAD[kind](path)
    assert not nest.exists()


@pytest.mark.parametrize("kind", LOAD)
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "pool.safetensors")
    (tmp_path / "pool.safetensors").symlink_to(tmp_path / "loop.safetensors")
    (tmp_path / "lost.safetensors").symlink_to(tmp_path / "none.safetensors")
    started = time.perf_counter()
    for name in ("folder", "pipe", "loop", "lost", "none"):
        path = tmp_path / f"{name}.safetensors"
        with pytest.raises(FileError, match=rf"{name}\.safetensors"):
            LOAD[kind](path)
    assert time.perf_counter() - started < 5
