"""`skills.json` read and checked: what is there is what the contract says, or one sentence says what is not."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from steersman.errors import DataError, FileError
from steersman.files.container import count, field, word
from steersman.report.skills.record import (
    ACCURACIES,
    ARMS,
    FILE,
    LOSS,
    READINGS,
    ROLES,
    VERSION,
    Choice,
    Contrast,
    Corpus,
    Curve,
    Estimate,
    Histogram,
    Kept,
    LayerFigures,
    Point,
    Skills,
    Square,
    Vector,
)

_NUMBER: Final = (int, float)

Record = Mapping[str, Any]


def read_skills(folder: Path) -> Skills:
    """Return the record in a run folder.

    Args:
        folder: a run folder with `skills.json`.

    Raises:
        FileError: the file is missing or is not JSON; the message names it.
        DataError: a field is missing or is not what it should be; the message says which.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileError(
            f"Expected a run folder with {FILE}, but {path} does not exist; "
            "give the folder that `steersman run skills` wrote."
        )
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # broken JSON, and bytes that are not UTF-8
        raise FileError(f"{path} is not valid JSON ({error}); remove it and run the study again.") from error
    return skills_of(plain, str(path))


def skills_of(plain: Any, where: str = FILE) -> Skills:
    """Return the record that plain data hold.

    Args:
        plain: what `skills.json` holds.
        where: the name that errors blame.

    Raises:
        DataError: a field is missing or is not what it should be.
    """
    try:
        record = _mapping(plain, "the record")
        found = _skills(record)
        _check(found)
    except KeyError as error:
        raise DataError(f"{where}: expected the field {error}, got none; run the study again.") from error
    except (ValueError, TypeError, LookupError) as error:
        raise DataError(f"{where}: {error}; run the study again.") from error
    return found


def _skills(record: Record) -> Skills:
    version = field(record, "version", int)
    if version != VERSION:
        raise DataError(f"expected version {VERSION} of the record, got {version}")
    metric = word(record, "metric", ACCURACIES)
    names = tuple(field(corpus, "name", str) for corpus in _objects(record, "corpora"))
    return Skills(
        model=field(record, "model", str),
        layers=count(record, "layers", 1),
        unit=field(record, "unit", str),
        corpora=tuple(map(_corpus, record["corpora"])),
        keep=field(record, "keep", str),
        retain=_number(record, "retain"),
        metric=metric,
        vectors=tuple(map(_vector, _objects(record, "vectors"))),
        cosines=tuple(map(_square, _objects(record, "cosines"))),
        validation=tuple(_curve(curve, names) for curve in _objects(record, "validation")),
        test=tuple(_curve(curve, names) for curve in _objects(record, "test")),
        chosen=tuple(map(_choice, _objects(record, "chosen"))),
        comparisons=tuple(map(_contrast, _objects(record, "comparisons"))),
        finding=tuple(map(str, field(record, "finding", list))),
    )


def _check(found: Skills) -> None:
    """Check what fields say of each other.

    Raises:
        DataError: a name is used that nothing introduces.
    """
    corpora = {corpus.name for corpus in found.corpora}
    if found.keep not in corpora:
        raise DataError(f"expected 'keep' among the corpora {', '.join(sorted(corpora))}, got {found.keep!r}")
    if not 0 < found.retain <= 1:
        raise DataError(f"expected 'retain' above 0 and at most 1, got {found.retain:g}")
    vectors = {vector.name for vector in found.vectors}
    for each in (*found.validation, *found.test, *found.chosen):
        if each.remove not in found.removed:
            raise DataError(f"expected curves that remove one of {', '.join(found.removed)}, got {each.remove!r}")
        if each.vector not in vectors:
            raise DataError(f"expected a vector among {', '.join(sorted(vectors))}, got {each.vector!r}")


def _corpus(record: Record) -> Corpus:
    role, counts = word(record, "role", ROLES), ("train", "validation", "test", "tokens")
    sizes = {name: count(record, name, 0) for name in counts}
    return Corpus(name=field(record, "name", str), role=role, source=field(record, "source", str), **sizes)


def _vector(record: Record) -> Vector:
    return Vector(
        name=field(record, "name", str),
        remove=field(record, "remove", str),
        reading=word(record, "reading", READINGS),
        masked=count(record, "masked", 0),
        by_layer=tuple(
            LayerFigures(
                count(row, "layer", 0),
                *(_number(row, name) for name in ("vector_norm", "residual_norm", "massive_share")),
                separation=None if row.get("separation") is None else _number(row, "separation"),
            )
            for row in _objects(record, "by_layer")
        ),
        histograms=tuple(map(_histogram, _objects(record, "histograms"))),
    )


def _histogram(record: Record) -> Histogram:
    edges, counts = _numbers(record["edges"], "edges"), field(record, "counts", list)
    if len(edges) != len(counts) + 1:
        raise DataError(f"expected a histogram with one edge more than counts, got {len(edges)} and {len(counts)}")
    largest = tuple((count(each, "coordinate", 0), _number(each, "value")) for each in _objects(record, "largest"))
    return Histogram(count(record, "layer", 0), edges, tuple(map(int, counts)), largest)


def _square(record: Record) -> Square:
    names = tuple(map(str, field(record, "names", list)))
    matrix = tuple(_numbers(row, "matrix") for row in field(record, "matrix", list))
    if len(matrix) != len(names) or any(len(row) != len(names) for row in matrix):
        raise DataError(f"expected a square of {len(names)} x {len(names)} cosines at layer {record['layer']}")
    return Square(count(record, "layer", 0), names, matrix)


def _curve(record: Record, corpora: Sequence[str]) -> Curve:
    points = tuple(_point(point, corpora) for point in _objects(record, "points"))
    rising = [point.coefficient for point in points]
    if not rising or rising[0] != 0 or sorted(set(rising)) != rising:
        raise DataError(f"expected a curve's coefficients to rise from 0, got {rising}")
    kept, seed = record["kept"], record["seed"]
    return Curve(
        vector=field(record, "vector", str),
        remove=field(record, "remove", str),
        arm=word(record, "arm", ARMS),
        seed=None if seed is None else int(seed),
        layers=_layers(record),
        points=points,
        area=_perhaps(record, "area"),
        kept=None if kept is None else _kept(_mapping(kept, "kept")),
    )


def _point(record: Record, corpora: Sequence[str]) -> Point:
    skills = {name: _mapping(field(record, "skills", dict)[name], name) for name in corpora}

    def read(corpus: str, metric: str, name: str) -> Estimate:
        return _estimate(_mapping(skills[corpus][metric], metric)[name], f"{name} {metric} of {corpus}")

    metrics = (*ACCURACIES, LOSS)
    return Point(
        coefficient=_number(record, "coefficient"),
        absolute={name: {metric: read(name, metric, "absolute") for metric in metrics} for name in corpora},
        relative={name: {metric: read(name, metric, "relative") for metric in ACCURACIES} for name in corpora},
        change={name: read(name, LOSS, "change") for name in corpora},
    )


def _kept(record: Record) -> Kept:
    skills = {str(name): _estimate(value, f"kept {name}") for name, value in field(record, "skills", dict).items()}
    return Kept(_number(record, "coefficient"), _estimate(record["keep"], "kept keep"), skills)


def _choice(record: Record) -> Choice:
    texts = {name: field(record, name, str) for name in ("remove", "vector", "reason")}
    return Choice(**texts, layers=_layers(record), coefficient=_number(record, "coefficient"))


def _contrast(record: Record) -> Contrast:
    return Contrast(
        **{name: field(record, name, str) for name in ("question", "remove", "first", "second", "measure", "sentence")},
        at=None if record["at"] is None else _number(record, "at"),
        first_value=_perhaps(record, "first_value"),
        second_value=_perhaps(record, "second_value"),
        difference=_perhaps(record, "difference"),
    )


def _perhaps(record: Record, name: str) -> Estimate | None:
    return None if record[name] is None else _estimate(record[name], name)


def _layers(record: Record) -> tuple[int, ...]:
    layers = tuple(field(record, "layers", list))
    if not layers or any(isinstance(layer, bool) or not isinstance(layer, int) for layer in layers):
        raise DataError(f"expected one layer or more as whole numbers, got {list(layers)}")
    return layers


def _estimate(value: Any, name: str) -> Estimate:
    record = _mapping(value, name)
    try:
        return Estimate(*(_number(record, key) for key in ("value", "low", "high")), n=count(record, "n", 0))
    except KeyError as error:
        raise DataError(f"{name}: expected the field {error}, got none") from error
    except (TypeError, DataError) as error:
        raise DataError(f"{name}: {error}") from error


def _number(record: Record, name: str) -> float:
    value = float(field(record, name, _NUMBER))
    if not math.isfinite(value):
        raise DataError(f"expected a finite number in {name!r}, got {value}")
    return value


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    return tuple(_number({name: each}, name) for each in value)


def _objects(record: Record, name: str) -> list[Record]:
    return [_mapping(each, f"an entry of {name!r}") for each in field(record, name, list)]


def _mapping(value: Any, name: str) -> Record:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {name} to be an object, got {type(value).__name__}")
    return value
