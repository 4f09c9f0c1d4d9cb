"""`skills.json` read into frozen values, and checked as it is read."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from steersman.maths.statistics import Estimate
from steersman.report.checked import Node, check_version, opened
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
    Kept,
    Point,
    Skills,
    Vector,
)
from steersman.report.vector_figures import figures_at, histogram_at, square_at


def read_skills(folder: str | Path) -> Skills:
    """Return the record in a run folder.

    Args:
        folder: a run folder with `skills.json`.

    Raises:
        FileError: the file is missing, cannot be read or is not JSON; the message names it.
        DataError: it is not what it should be; the message names the place.
    """
    return _skills(opened(folder, FILE, "skills"))


def skills_of(plain: Any, path: Path = Path(FILE)) -> Skills:
    """Return the record that plain data hold.

    Args:
        plain: what `skills.json` holds.
        path: of the file, for messages.

    Raises:
        DataError: it is not what it should be; the message names the place.
    """
    return _skills(Node(path, "", plain))


def _skills(root: Node) -> Skills:
    check_version(root, VERSION)
    corpora = root.at("corpora").each(_corpus)
    names = [corpus.name for corpus in corpora]
    curve = partial(_curve, corpora=names)
    found = Skills(
        model=root.at("model").text(),
        layers=root.at("layers").whole(1),
        unit=root.at("unit").text(),
        corpora=corpora,
        keep=root.at("keep").one_of(names),
        retain=root.at("retain").number(),
        metric=root.at("metric").one_of(ACCURACIES),
        vectors=root.at("vectors").each(_vector),
        cosines=root.at("cosines").each(square_at),
        validation=root.at("validation").each(curve),
        test=root.at("test").each(curve),
        chosen=root.at("chosen").each(_choice),
        comparisons=root.at("comparisons").each(_contrast),
        finding=root.at("finding").each(Node.text),
    )
    if not 0 < found.retain <= 1:
        raise root.at("retain").wrong("a share above 0 and at most 1")
    vectors = [vector.name for vector in found.vectors]

    def check_names(node: Node) -> None:
        node.at("remove").one_of(found.removed)
        node.at("vector").one_of(vectors)

    for part in ("validation", "test", "chosen"):
        root.at(part).each(check_names)
    return found


def _corpus(node: Node) -> Corpus:
    sizes = (node.at(name).whole(0) for name in ("train", "validation", "test", "tokens"))
    return Corpus(node.at("name").text(), node.at("role").one_of(ROLES), node.at("source").text(), *sizes)


def _vector(node: Node) -> Vector:
    return Vector(
        name=node.at("name").text(),
        remove=node.at("remove").text(),
        reading=node.at("reading").one_of(READINGS),
        masked=node.at("masked").whole(0),
        by_layer=node.at("by_layer").each(figures_at),
        histograms=node.at("histograms").each(histogram_at),
    )


def _curve(node: Node, corpora: Sequence[str]) -> Curve:
    points = node.at("points").each(partial(_point, corpora=corpora))
    rising = [point.coefficient for point in points]
    if not rising or rising[0] != 0 or sorted(set(rising)) != rising:
        came = ", ".join(f"{each:g}" for each in rising)
        raise node.at("points").wrong("coefficients that rise from 0", came or "none")
    return Curve(
        vector=node.at("vector").text(),
        remove=node.at("remove").text(),
        arm=node.at("arm").one_of(ARMS),
        seed=node.at("seed").maybe(Node.whole),
        layers=_layers(node.at("layers")),
        points=points,
        area=node.at("area").maybe(Node.estimate),
        kept=node.at("kept").maybe(_kept),
    )


def _point(node: Node, corpora: Sequence[str]) -> Point:
    def read(corpus: str, metric: str, name: str) -> Estimate:
        return node.at("skills").at(corpus).at(metric).at(name).estimate()

    metrics = (*ACCURACIES, LOSS)
    return Point(
        coefficient=node.at("coefficient").number(),
        absolute={name: {metric: read(name, metric, "absolute") for metric in metrics} for name in corpora},
        relative={name: {metric: read(name, metric, "relative") for metric in ACCURACIES} for name in corpora},
        change={name: read(name, LOSS, "change") for name in corpora},
    )


def _kept(node: Node) -> Kept:
    return Kept(node.at("coefficient").number(), node.at("keep").estimate(), node.at("skills").by_name(Node.estimate))


def _choice(node: Node) -> Choice:
    return Choice(
        remove=node.at("remove").text(),
        vector=node.at("vector").text(),
        layers=_layers(node.at("layers")),
        coefficient=node.at("coefficient").number(),
        reason=node.at("reason").text(),
    )


def _contrast(node: Node) -> Contrast:
    return Contrast(
        question=node.at("question").text(),
        remove=node.at("remove").text(),
        first=node.at("first").text(),
        second=node.at("second").text(),
        at=node.at("at").maybe(Node.number),
        first_value=node.at("first_value").maybe(Node.estimate),
        second_value=node.at("second_value").maybe(Node.estimate),
        difference=node.at("difference").maybe(Node.estimate),
        measure=node.at("measure").text(),
        sentence=node.at("sentence").text(),
    )


def _layers(node: Node) -> tuple[int, ...]:
    layers = node.each(Node.whole)
    if not layers:
        raise node.wrong("one layer or more", "none")
    return layers
