"""`behaviours.json` read into frozen values, and checked as it is read."""

import re
from pathlib import Path
from typing import Any

from steersman.report.behaviours.values import (
    Agreement,
    Baseline,
    Behaviour,
    Cell,
    Chosen,
    Curve,
    Letters,
    Member,
    Point,
    Prediction,
    Record,
    Score,
    Setting,
    Tax,
    Vector,
)
from steersman.report.checked import Node, check_version, opened
from steersman.report.vector_figures import figures_at, histogram_at, square_at

NAME = "behaviours.json"
VERSION = 1
KINDS = ("unsteered", "single", "combined", "simultaneous", "one layer", "random", "prompt")


def read_behaviours(folder: str | Path) -> Record:
    """Return what a run folder's `behaviours.json` holds.

    Raises:
        FileError: the file is missing, cannot be read or is not JSON; the message names it.
        DataError: it is not what it should be; the message names the place.
    """
    return _record(opened(folder, NAME, "behaviours"))


def parsed(value: Any, path: Path = Path(NAME)) -> Record:
    """Return a record from plain data.

    Args:
        value: as JSON holds it.
        path: of the file, for messages.

    Raises:
        DataError: it is not what it should be; the message names the place.
    """
    return _record(Node(path, "", value))


def _record(root: Node) -> Record:
    check_version(root, VERSION)
    found = Record(
        model=root.at("model").text(),
        layers=root.at("layers").whole(),
        unit=root.at("unit").text(),
        behaviours=root.at("behaviours").each(_behaviour),
        vectors=root.at("vectors").each(_vector),
        cosines=root.at("cosines").each(square_at),
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


def _behaviour(node: Node) -> Behaviour:
    counts = (node.at(key).whole() for key in ("train", "validation", "test"))
    return Behaviour(node.at("name").text(), node.at("source").text(), *counts)


def _vector(node: Node) -> Vector:
    return Vector(
        node.at("behaviour").text(),
        node.at("reading").text(),
        node.at("by_layer").each(figures_at),
        node.at("histograms").each(histogram_at),
    )


def _baseline(node: Node) -> Baseline:
    collapse = node.at("collapse").each(Node.text)
    return Baseline(
        node.at("behaviour").text(),
        node.at("text").estimate(),
        node.at("margin").estimate(),
        node.at("letter").maybe(Node.estimate),
        node.at("token").maybe(Node.estimate),
        node.at("faulty").maybe(Node.estimate),
        collapse,
        _given(node, collapse),
    )


def _cell(node: Node) -> Cell:
    return Cell(
        node.at("behaviour").text(),
        node.at("layer").whole(),
        node.at("coefficient").number(),
        node.at("text").estimate(),
        node.at("margin").estimate(),
        node.at("margin_change").estimate(),
        node.at("eligible").flag(),
        node.at("why").maybe(Node.text) or "",
    )


def _letters(node: Node) -> Letters:
    collapse = node.at("collapse").each(Node.text)
    return Letters(
        node.at("behaviour").text(),
        node.at("layer").maybe(Node.whole),
        node.at("coefficient").number(),
        node.at("letter").estimate(),
        node.at("token").estimate(),
        node.at("faulty").estimate(),
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
        node.at("margin_change").by_name(Node.estimate),
        node.at("text_change").by_name(Node.estimate),
        node.at("tax").maybe(Node.estimate),
        node.get("drift").maybe(Node.estimate),
    )


def _setting(node: Node) -> Setting:
    return Setting(
        node.at("name").text(),
        node.at("kind").one_of(KINDS),
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
    return Score(*(node.at(key).estimate() for key in ("text", "margin", "text_change", "margin_change")))


def _tax(node: Node) -> Tax:
    return Tax(node.at("accuracy").estimate(), node.at("change").estimate(), node.at("n").whole())


def _prediction(node: Node) -> Prediction:
    return Prediction(
        node.at("setting").text(),
        node.at("behaviour").text(),
        node.at("predicted").number(),
        node.at("measured").maybe(Node.estimate),
        node.at("agrees").flag(),
        node.get("counts").maybe(Node.flag) is not False,
    )


def _agreement(node: Node) -> Agreement:
    return Agreement(
        node.at("n").whole(),
        node.at("sign_agreement").maybe(Node.estimate),
        node.at("rank_correlation").maybe(Node.estimate),
        node.at("sentence").text(),
    )
