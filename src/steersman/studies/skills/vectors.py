"""The study's vectors: the mean of the kept corpus less that of the removed one, at every layer that is asked for.

Positive coefficients lead from the removed skill towards the kept one: adding the vector removes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from steersman.activations import Activations
from steersman.direction import Direction
from steersman.inspection import compare, inspect_direction
from steersman.methods import MeanDifference
from steersman.prompts import Example, Passage, content_hash
from steersman.recording import record_texts
from steersman.studies.desk import Desk
from steersman.studies.skills.config import Reading, SkillsConfig
from steersman.studies.skills.corpora import Corpus
from steersman.where import layer_at

SPANS: dict[Reading, str] = {"last": "last", "mean": "all-bos"}
"""What a reading averages; a beginning-of-sequence token is the same in every text, and an attention sink."""

BINS = 40
"""Of a histogram of coordinates."""

LARGEST = 5
"""Coordinates that are named beside a histogram."""


@dataclass(frozen=True)
class SkillVector:
    """A vector that removes a skill, at every recorded layer.

    Args:
        name: such as `python, mean, masked`.
        remove: the corpus it leads away from.
        reading: `last` or `mean`.
        masked: how many of its largest coordinates are set to zero.
        direction: the vectors themselves, from the removed corpus towards the kept one.
    """

    name: str
    remove: str
    reading: Reading
    masked: int
    direction: Direction


def layer_sets(config: SkillsConfig, depth: int) -> list[tuple[int, ...]]:
    """Return the sets of layers to steer at, single ones first, each once.

    Args:
        config: whose shares of the depth become layers; in a shallow model several may become the same.
        depth: number of decoder blocks.

    Raises:
        InputError: for a layer that the model lacks.
    """
    found = {tuple(sorted({layer_at(each, depth) for each in layers})): None for layers in config.sweep.layers}
    return sorted(found, key=lambda layers: (len(layers), layers))


def skill_vectors(desk: Desk[SkillsConfig], corpora: Mapping[str, Corpus]) -> list[SkillVector]:
    """Return every vector of the study; texts are read once for each reading, and not at all where all is saved.

    Args:
        desk: the run at hand.
        corpora: by name.
    """
    config = desk.config
    layers = sorted({layer for some in layer_sets(config, desk.model.depth) for layer in some})
    keep = corpora[config.keep]
    removed = [corpora[name] for name in config.removed]
    texts = content_hash([*keep.train, *(text for corpus in removed for text in corpus.train)])
    found: list[SkillVector] = []
    for reading in config.vectors.readings:
        recorded = cache(lambda reading=reading: _recorded(desk, keep, removed, reading, layers))
        for corpus in removed:
            recipe = (
                f"text minus code|{reading}|{layers}|{keep.name}|{corpus.name}|{texts}|{content_hash(corpus.train)}"
            )
            raw = desk.fitted(
                f"{corpus.name}-{reading}",
                recipe,
                lambda name=corpus.name, recorded=recorded: MeanDifference().fit(recorded()[name]),
            )
            for count in config.vectors.masked:
                name = f"{corpus.name}, {reading}" + (", masked" if count else "")
                several = len([each for each in config.vectors.masked if each]) > 1
                name += f" {count}" if count and several else ""
                direction = raw.masked(count) if count else raw
                found.append(SkillVector(name, corpus.name, reading, count, direction))
    return sorted(found, key=lambda each: config.removed.index(each.remove))


def _recorded(
    desk: Desk[SkillsConfig], keep: Corpus, removed: Sequence[Corpus], reading: Reading, layers: Sequence[int]
) -> dict[str, Activations]:
    """Return the kept corpus against each removed one, by its name, from one pass over all of them."""
    total = len(keep.train) + sum(len(corpus.train) for corpus in removed)
    done = 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        desk.notify(f"record, {reading}", done, total)

    others = [text for corpus in removed for text in corpus.train]
    every = record_texts(
        desk.model, _examples(keep.train), _examples(others), span=SPANS[reading], layers=layers, notify=count
    )
    found: dict[str, Activations] = {}
    start = 0
    for corpus in removed:
        rows = slice(start, start + len(corpus.train))
        start = rows.stop
        # The norms are those of all corpora, so that one coefficient means one length for all vectors of a layer.
        origin = replace(every.origin, data=content_hash([*keep.train, *corpus.train]))
        found[corpus.name] = replace(
            every, negative={site: values[rows] for site, values in every.negative.items()}, origin=origin
        )
    return found


def _examples(texts: Sequence[Passage]) -> list[Example]:
    return [Example("", text.text) for text in texts]


def vector_records(vectors: Sequence[SkillVector]) -> list[dict[str, Any]]:
    """Return what is known of every vector at every layer, and how its coordinates are spread."""
    return [
        {
            "name": each.name,
            "remove": each.remove,
            "reading": each.reading,
            "masked": each.masked,
            "warning": inspect_direction(each.direction).warning,
            "by_layer": [
                {
                    "layer": row.site.layer,
                    "vector_norm": row.vector_norm,
                    "residual_norm": row.residual_norm,
                    "massive_share": row.massive_share,
                    # Of the raw vector alone: the texts' activations are not kept.
                    "separation": row.separation,
                }
                for row in inspect_direction(each.direction).sites
            ],
            "histograms": _histograms(each.direction),
        }
        for each in vectors
    ]


def _histograms(direction: Direction) -> list[dict[str, Any]]:
    """Return, by layer, the counts of the coordinates between equally wide edges, and the largest ones themselves."""
    found: list[dict[str, Any]] = []
    for site in direction.sites:
        vector = direction.vectors[site].double()
        counts, edges = np.histogram(vector.numpy(), bins=BINS)
        largest = [int(index) for index in vector.abs().topk(min(LARGEST, len(vector))).indices]
        found.append(
            {
                "layer": site.layer,
                "edges": [float(edge) for edge in edges],
                "counts": [int(count) for count in counts],
                "largest": [{"coordinate": index, "value": float(vector[index])} for index in largest],
            }
        )
    return found


def cosine_records(vectors: Sequence[SkillVector]) -> list[dict[str, Any]]:
    """Return the cosines between all vectors, layer by layer; none for a single vector."""
    if len(vectors) < 2:
        return []
    found = compare({each.name: each.direction for each in vectors})
    return [
        {"layer": site.layer, "names": list(held.names), "matrix": [list(row) for row in held.values]}
        for site, held in sorted(found.by_site.items())
    ]
