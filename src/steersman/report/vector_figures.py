"""What a study's record says of its vectors, whatever they steer: figures by layer, histograms, cosines.

Each value has its reader beside it, which takes the place in the record that holds it.
"""

from dataclasses import dataclass

from steersman.report.checked import Node


@dataclass(frozen=True)
class LayerFigures:
    """A vector at one layer; None where a figure is not known.

    Args:
        layer: 0-based decoder block.
        vector_norm: its length, in the activations' units.
        residual_norm: the activations' mean length there, in the same units.
        massive_share: of its energy (squared length) in its two largest coordinates, 0 to 1.
        separation: AUROC on held-out texts, 0 to 1.
    """

    layer: int
    vector_norm: float | None
    residual_norm: float | None
    massive_share: float | None
    separation: float | None


@dataclass(frozen=True)
class Histogram:
    """How a vector's coordinates are spread at one layer.

    Args:
        layer: 0-based decoder block.
        edges: of the bins, rising, in the activations' units; one more than there are counts.
        counts: coordinates in each bin.
        largest: the largest coordinates as `(coordinate, value)`.
    """

    layer: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    largest: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Square:
    """Cosines between vectors at one layer, -1 to 1; None where there is none."""

    layer: int
    names: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]


def figures_at(node: Node) -> LayerFigures:
    """Return a vector's figures at one layer."""
    names = ("vector_norm", "residual_norm", "massive_share", "separation")
    return LayerFigures(node.at("layer").whole(0), *(node.at(name).maybe(Node.number) for name in names))


def histogram_at(node: Node) -> Histogram:
    """Return a histogram.

    Raises:
        DataError: it is not one, or its edges are not one more than its counts.
    """
    edges, counts = node.at("edges").each(Node.number), node.at("counts").each(lambda one: one.whole(0))
    if len(edges) != len(counts) + 1:
        raise node.at("edges").wrong(f"{len(counts) + 1} edges for {len(counts)} counts", str(len(edges)))
    largest = node.at("largest").each(lambda one: (one.at("coordinate").whole(0), one.at("value").number()))
    return Histogram(node.at("layer").whole(0), edges, counts, largest)


def square_at(node: Node) -> Square:
    """Return cosines.

    Raises:
        DataError: they are no square with a row and a column for every name.
    """
    names = node.at("names").each(Node.text)
    matrix = node.at("matrix").each(lambda row: row.each(lambda one: one.maybe(Node.number)))
    if [len(row) for row in matrix] != [len(names)] * len(names):
        raise node.at("matrix").wrong(f"{len(names)} rows of {len(names)} cosines")
    return Square(node.at("layer").whole(0), names, matrix)
