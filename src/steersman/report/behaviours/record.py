"""`behaviours.json` read into frozen values, and checked as it is read."""

import json
import re
from pathlib import Path
from typing import Any

from steersman.errors import DataError, FileError
from steersman.report.behaviours.checked import Node
from steersman.report.behaviours.values import (
    Agreement,
    Baseline,
    Behaviour,
    Cell,
    Chosen,
    Curve,
    Estimate,
    Histogram,
    LayerFigures,
    Letters,
    Member,
    Point,
    Prediction,
    Record,
    Score,
    Setting,
    Square,
    Tax,
    Vector,
)

NAME = "behaviours.json"
VERSION = 1
KINDS = ("unsteered", "single", "combined", "simultaneous", "one layer", "random", "prompt")


def read_behaviours(folder: str | Path) -> Record:
    """Return what a run folder's `behaviours.json` holds.

    Raises:
        FileError: there is no such file, or it cannot be read.
        DataError: it is not what it should be; the message names the place.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileError(
            f"expected a run folder with {NAME}, but {path} does not exist; "
            "give the folder that `steersman run behaviours` wrote"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # broken JSON, and bytes that are not UTF-8
        raise DataError(f"{path} is not valid JSON ({error}); remove it and run the study again.") from error
    return parsed(value, path)


def parsed(value: Any, path: Path = Path(NAME)) -> Record:
    """Return a record from plain data.

    Args:
        value: as JSON holds it.
        path: of the file, for messages.

    Raises:
        DataError: it is not what it should be; the message names the place.
    """
    root = Node(path, "", value)
    if root.at("version").whole() != VERSION:
        raise root.at("version").wrong(f"version {VERSION}, which this steersman reads")
    found = Record(
        model=root.at("model").text(),
        layers=root.at("layers").whole(),
        unit=root.at("unit").text(),
        behaviours=root.at("behaviours").each(_behaviour),
        vectors=root.at("vectors").each(_vector),
        cosines=root.at("cosines").each(_square),
        baseline=root.at("baseline").each(_baseline),
        grid=root.at("grid").each(_cell),
        letters=root.at("letters").each(_letters),
        chosen=root.at("chosen").each(_chosen),
        curves=root.at("curves").each(_curve),
        settings=root.at("settings").each(_setting),
        predictions=root.at("predictions").each(_prediction),
        prediction=root.at("prediction").maybe(_agreement),
        finding=root.at("finding").each(Node.text),
        notes=root.get("notes").maybe(lambda node: node.each(Node.text)) or (),
        scoring=root.get("scoring").maybe(Node.text) or "text",
    )
    if not found.behaviours:
        raise root.at("behaviours").wrong("at least one behaviour")
    return found


def _estimate(node: Node) -> Estimate:
    value, low, high = (node.at(key).number() for key in ("value", "low", "high"))
    if low > high:
        raise node.at("low").wrong(f"an interval's lower end, at most its upper end {high:g}")
    return Estimate(value, low, high, node.at("n").whole())


def _behaviour(node: Node) -> Behaviour:
    counts = (node.at(key).whole() for key in ("train", "validation", "test"))
    return Behaviour(node.at("name").text(), node.at("source").text(), *counts)


def _vector(node: Node) -> Vector:
    return Vector(
        node.at("behaviour").text(),
        node.at("reading").text(),
        node.at("by_layer").each(_figures),
        node.at("histograms").each(_histogram),
    )


def _figures(node: Node) -> LayerFigures:
    names = ("vector_norm", "residual_norm", "massive_share", "separation")
    return LayerFigures(node.at("layer").whole(), *(node.at(name).maybe(Node.number) for name in names))


def _histogram(node: Node) -> Histogram:
    edges, counts = node.at("edges").each(Node.number), node.at("counts").each(Node.whole)
    if len(edges) != len(counts) + 1:
        raise node.at("edges").wrong(f"{len(counts) + 1} edges for {len(counts)} counts")
    largest = node.at("largest").each(lambda one: (one.at("coordinate").whole(), one.at("value").number()))
    return Histogram(node.at("layer").whole(), edges, counts, largest)


def _square(node: Node) -> Square:
    names = node.at("names").each(Node.text)
    matrix = node.at("matrix").each(lambda row: row.each(lambda one: one.maybe(Node.number)))
    if [len(row) for row in matrix] != [len(names)] * len(names):
        raise node.at("matrix").wrong(f"{len(names)} rows of {len(names)} cosines")
    return Square(node.at("layer").whole(), names, matrix)


def _baseline(node: Node) -> Baseline:
    collapse = node.at("collapse").each(Node.text)
    return Baseline(
        node.at("behaviour").text(),
        _estimate(node.at("text")),
        _estimate(node.at("margin")),
        node.at("letter").maybe(_estimate),
        node.at("token").maybe(_estimate),
        node.at("faulty").maybe(_estimate),
        collapse,
        _given(node, collapse),
    )


def _cell(node: Node) -> Cell:
    return Cell(
        node.at("behaviour").text(),
        node.at("layer").whole(),
        node.at("coefficient").number(),
        _estimate(node.at("text")),
        _estimate(node.at("margin")),
        _estimate(node.at("margin_change")),
        node.at("eligible").flag(),
        node.at("why").maybe(Node.text) or "",
    )


def _letters(node: Node) -> Letters:
    collapse = node.at("collapse").each(Node.text)
    return Letters(
        node.at("behaviour").text(),
        node.at("layer").maybe(Node.whole),
        node.at("coefficient").number(),
        _estimate(node.at("letter")),
        _estimate(node.at("token")),
        _estimate(node.at("faulty")),
        node.at("collapsed").flag(),
        collapse,
        _given(node, collapse),
    )


def _given(node: Node, collapse: tuple[str, ...]) -> float | None:
    """Return the share of the answer given most often, by log-probability; else what the collapse sentences say."""
    found = node.get("given").maybe(Node.number)
    if found is not None:
        return found
    for sentence in collapse:
        match = re.search(r"by log-probability: .* is the answer (\d+) of (\d+) times", sentence)
        if match and int(match[2]):
            return int(match[1]) / int(match[2])
    return None


def _chosen(node: Node) -> Chosen:
    return Chosen(
        node.at("behaviour").text(),
        node.at("sign").whole(),
        node.at("layer").maybe(Node.whole),
        node.at("coefficient").maybe(Node.number),
        node.at("reason").text(),
    )


def _curve(node: Node) -> Curve:
    points = node.at("points").each(_point)
    return Curve(node.at("setting").text(), node.at("kind").text(), node.at("sign").whole(), points)


def _point(node: Node) -> Point:
    return Point(
        node.at("scale").number(),
        node.at("margin_change").by_name(_estimate),
        node.at("text_change").by_name(_estimate),
        node.at("tax").maybe(_estimate),
        node.get("drift").maybe(_estimate),
    )


def _setting(node: Node) -> Setting:
    kind = node.at("kind")
    if kind.text() not in KINDS:
        raise kind.wrong(f"one of {', '.join(KINDS)}")
    return Setting(
        node.at("name").text(),
        kind.text(),
        node.at("way").maybe(Node.text),
        node.at("weighted").maybe(Node.flag),
        node.at("sign").whole(),
        node.at("scale").maybe(Node.number),
        node.at("members").each(_member),
        node.at("warnings").each(Node.text),
        node.at("pushes").by_name(Node.number),
        node.at("scores").by_name(_score),
        node.at("tax").maybe(_tax),
    )


def _member(node: Node) -> Member:
    return Member(
        node.at("behaviour").text(),
        node.at("site").text(),
        node.at("asked").maybe(Node.number),
        node.at("coefficient").maybe(Node.number),
        node.at("effect").maybe(Node.number),
        node.at("outcome").maybe(Node.text) or "",
    )


def _score(node: Node) -> Score:
    return Score(*(_estimate(node.at(key)) for key in ("text", "margin", "text_change", "margin_change")))


def _tax(node: Node) -> Tax:
    return Tax(_estimate(node.at("accuracy")), _estimate(node.at("change")), node.at("n").whole())


def _prediction(node: Node) -> Prediction:
    return Prediction(
        node.at("setting").text(),
        node.at("behaviour").text(),
        node.at("predicted").number(),
        node.at("measured").maybe(_estimate),
        node.at("agrees").flag(),
        node.get("counts").maybe(Node.flag) is not False,
    )


def _agreement(node: Node) -> Agreement:
    return Agreement(
        node.at("n").whole(),
        node.at("sign_agreement").maybe(_estimate),
        node.at("rank_correlation").maybe(_estimate),
        node.at("sentence").text(),
    )
