"""The behaviours' vectors: the mean difference of matching against not matching answers, every layer in one pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steersman.direction import Direction
from steersman.files import save_direction
from steersman.inspection import compare, inspect_direction
from steersman.methods import MeanDifference
from steersman.prompts import content_hash
from steersman.recording import record
from steersman.studies.behaviours.config import BehavioursConfig
from steersman.studies.behaviours.items import Behaviour, contrast
from steersman.studies.desk import Desk
from steersman.where import Site

BATCH = 32
BINS = 41
"""Bins of a histogram: an odd number, so that one of them holds zero in its middle."""
LARGEST = 5
"""Coordinates that are named beside a histogram."""


def fitted_vectors(desk: Desk[BehavioursConfig], behaviours: Sequence[Behaviour]) -> dict[str, Direction]:
    """Return every behaviour's mean difference on its train items at every layer, by name; they are saved as well."""
    config = desk.config
    found: dict[str, Direction] = {}
    for each in behaviours:
        pairs, span = contrast(each.train, config.reading, config.form)
        stage, total, done = f"vector of {each.name}", 2 * len(pairs), 0

        def note(count: int, stage: str = stage, total: int = total) -> None:
            nonlocal done
            done += count
            desk.notify(stage, done, total)

        def fit(pairs: Any = pairs, span: str = span, note: Any = note) -> Direction:
            return MeanDifference().fit(record(desk.model, pairs, span=span, batch_size=BATCH, notify=note))

        recipe = f"mean difference|{content_hash(pairs)}|{span}"
        found[each.name] = desk.fitted(f"{each.name}-all", recipe, fit)
        save_direction(found[each.name], desk.folder / "directions" / f"{each.name}.safetensors", force=True)
    return found


def figures(directions: Mapping[str, Direction], reading: str, layers: Sequence[int]) -> list[dict[str, Any]]:
    """Return for each vector its figures at every layer, and the histograms of its coordinates at some.

    Args:
        directions: by behaviour.
        reading: how they were read.
        layers: of the histograms.
    """
    return [
        {
            "behaviour": name,
            "reading": reading,
            "by_layer": [
                {
                    "layer": row.site.layer,
                    "vector_norm": row.vector_norm,
                    "residual_norm": row.residual_norm,
                    "massive_share": row.massive_share,
                    "separation": row.separation,
                }
                for row in inspect_direction(direction).sites
            ],
            "histograms": [histogram(direction, layer) for layer in layers],
        }
        for name, direction in directions.items()
    ]


def histogram(direction: Direction, layer: int) -> dict[str, Any]:
    """Return how a vector's coordinates are spread at a layer: bins of equal width around zero, and the largest."""
    vector = direction.vectors[Site(layer)].double().numpy()
    most = float(np.abs(vector).max())
    counts, edges = np.histogram(vector, bins=BINS, range=(-most, most))
    order = np.argsort(-np.abs(vector), kind="stable")[:LARGEST]
    return {
        "layer": layer,
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
        "largest": [{"coordinate": int(index), "value": float(vector[index])} for index in order],
    }


def cosines(directions: Mapping[str, Direction], layers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the cosines between the behaviours' vectors at some layers."""
    by_site = compare(directions).by_site
    return [
        {"layer": layer, "names": list(directions), "matrix": [list(row) for row in by_site[Site(layer)].values]}
        for layer in layers
    ]
