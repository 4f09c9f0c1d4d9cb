"""A record of a study of broad skills, made by formula: the law of each curve is stated, nothing is measured.

A skill's relative accuracy at coefficient c is exp(-(rate * c)^2); where the removed skill's rate is higher than the
kept one's, steering is selective. The level is interpolated and the area integrated here, by the contract.
"""

import json
import math
from itertools import pairwise
from pathlib import Path

LEVEL = 0.9
CORPORA = {"text": "keep", "code": "remove", "python": "remove", "rust": "watch"}
BASE = {"text": 0.42, "code": 0.61, "python": 0.66, "rust": 0.55}
COEFFICIENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.1)
LAYERS = ((3,), (6,), (9,), (12,), (18,), (24,), (9, 12))
READINGS = (("mean", 0), ("last", 0), ("mean", 2), ("last", 2))
DEPTH = 30


def estimate(value, half=0.015, n=200):
    return {"value": value, "low": value - half, "high": value + 0.9 * half, "n": n}


def relative(rate, coefficient):
    return math.exp(-((rate * coefficient) ** 2))


def curve(vector, remove, arm, layers, rates, *, seed=None, coefficients=COEFFICIENTS, half=0.015, n=200):
    """Return a curve whose skills fall at given rates, by corpus."""
    points = [
        {
            "coefficient": c,
            "skills": {
                name: {
                    "top1_accuracy": both(BASE[name], relative(rate, c), half * (c > 0), n),
                    "top10_accuracy": both(min(0.97, BASE[name] + 0.25), relative(0.7 * rate, c), half * (c > 0), n),
                    "cross_entropy": {
                        "absolute": estimate(2.6 + 3.1 * (rate * c) ** 2, half, n),
                        "change": estimate(3.1 * (rate * c) ** 2, 2 * half * (c > 0), n),
                    },
                }
                for name, rate in rates.items()
            },
        }
        for c in coefficients
    ]
    found = {"vector": vector, "remove": remove, "arm": arm, "seed": seed, "layers": list(layers), "points": points}
    return found | {"area": area(points, remove), "kept": kept(points, n)}


def both(base, share, half, n):
    return {"absolute": estimate(base * share, half, n), "relative": estimate(share, half, n)}


def area(points, remove):
    pairs = [tuple(p["skills"][k]["top1_accuracy"]["relative"]["value"] for k in (remove, "text")) for p in points]
    steps = pairwise(pairs)
    return estimate(sum((x0 - x1) * ((y0 - x0) + (y1 - x1)) / 2 for (x0, y0), (x1, y1) in steps), 0.02)


def kept(points, n):
    def at(point, name):
        return point["skills"][name]["top1_accuracy"]["relative"]["value"]

    for first, second in pairwise(points):
        high, low = at(first, "text"), at(second, "text")
        if high >= LEVEL > low:
            part = (high - LEVEL) / (high - low)
            between = {name: (1 - part) * at(first, name) + part * at(second, name) for name in CORPORA}
            where = (1 - part) * first["coefficient"] + part * second["coefficient"]
            skills = {name: estimate(value, 0.02, n) for name, value in between.items()}
            return {"coefficient": where, "keep": skills["text"], "skills": skills}
    return None


def rates_of(remove, layers, reading, masked, *, selective=True):
    """Return how fast each corpus falls; the middle of the depth is best, masking helps, as does the mean."""
    best = 1 - abs(sum(layers) / len(layers) - 11) / 14 + 0.1 * (len(layers) - 1)
    skill = 0.45 + (0.9 * best + 0.25 * (masked > 0) + 0.2 * (reading == "mean") if selective else 0.0)
    text = 0.45 + 0.05 * (reading == "last")
    other = 0.6 * skill + 0.4 * text
    return {"text": text, **{name: skill if name == remove else other for name in ("code", "python")}, "rust": other}


def name_of(remove, reading, masked):
    return f"{remove}, {reading}" + (", masked" if masked else "")


def vectors(readings=READINGS, layers=(3, 6, 9, 12, 18, 24)):
    return [vector(remove, reading, masked, layers) for remove in ("code", "python") for reading, masked in readings]


def vector(remove, reading, masked, layers):
    share = {
        layer: 0.03 if masked else max(0.02, 0.8 - 0.06 * layer) * (1 if reading == "last" else 0.5) for layer in layers
    }
    width = 576
    histograms = []
    for layer in layers:
        reach = 0.4 + 0.05 * layer
        largest = (
            []
            if masked
            else [
                {"coordinate": 138, "value": -9.2 * share[layer] * reach},
                {"coordinate": 371, "value": 6.1 * share[layer] * reach},
            ]
        )
        low = min([-3 * reach, *(each["value"] for each in largest)])
        high = max([3 * reach, *(each["value"] for each in largest)])
        edges = [low + (high - low) * k / 40 for k in range(41)]
        counts = [
            round(width * (high - low) / 40 * math.exp(-(((a + b) / 2 / reach) ** 2) * 2) * 0.8 / reach)
            for a, b in pairwise(edges)
        ]
        counts = [
            max(count, int(any(a <= each["value"] <= b for each in largest)))
            for count, (a, b) in zip(counts, pairwise(edges), strict=True)
        ]
        histograms.append({"layer": layer, "edges": edges, "counts": counts, "largest": largest})
    rows = [
        {
            "layer": layer,
            "vector_norm": 2.0 + 0.3 * layer,
            "residual_norm": 20.0 + 4 * layer,
            "massive_share": share[layer],
            "separation": 0.98,
        }
        for layer in layers
    ]
    return {
        "name": name_of(remove, reading, masked),
        "remove": remove,
        "reading": reading,
        "masked": masked,
        "by_layer": rows,
        "histograms": histograms,
    }


def cosine(first, second, layer):
    if first == second:
        return 1.0
    same = 0.35 + 0.01 * layer
    raw = not first["masked"] and not second["masked"]
    apart = first["remove"] != second["remove"]
    if raw and apart:
        return -0.88 + 0.04 * layer + (0.15 if first["reading"] == "mean" else 0.0)
    return same + 0.2 * (first["masked"] == second["masked"]) + 0.07 * (first["reading"] == second["reading"])


def cosines(found, layers=(3, 6, 9, 12, 18, 24)):
    return [
        {
            "layer": layer,
            "names": [each["name"] for each in found],
            "matrix": [[cosine(a, b, layer) for b in found] for a in found],
        }
        for layer in layers
    ]


def comparison(question, remove, first, second, values, *, measure=None, at=LEVEL):
    one, other = values
    difference = None if one is None or other is None else estimate(one - other, 0.03)
    words = "is not known" if difference is None else f"is {100 * (one - other):+.1f} points"
    return {
        "question": question, "remove": remove, "first": first, "second": second, "at": at,
        "first_value": None if one is None else estimate(one, 0.02),
        "second_value": None if other is None else estimate(other, 0.02),
        "difference": difference, "measure": measure or f"relative top-1 accuracy of {remove}",
        "sentence": f"Where text keeps {100 * LEVEL:.0f} %, the difference in {remove} {words}.",
    }  # fmt: skip


def record(*, selective=True, readings=READINGS, layers=LAYERS, coefficients=COEFFICIENTS, controls=3):
    """Return a whole record: `selective=False` lets all skills fall alike; few coefficients never reach the level."""
    found = vectors(readings)
    validation, test, chosen, comparisons = [], [], [], []
    how = {"coefficients": coefficients}
    for remove in ("code", "python"):
        for reading, masked in readings:
            for where in layers:
                name, rates = (
                    name_of(remove, reading, masked),
                    rates_of(remove, where, reading, masked, selective=selective),
                )
                validation.append(curve(name, remove, "steered", where, rates, n=100, **how))
        reading, masked = readings[-1]
        name = name_of(remove, reading, masked)
        where = layers[min(2, len(layers) - 1)]
        rates = rates_of(remove, where, reading, masked, selective=selective)
        damage = {"text": 0.5, "code": 0.62, "python": 0.64, "rust": 0.6}
        validation.append(curve(name, remove, "permuted", where, damage, seed=1, n=100, **how))
        test.append(curve(name, remove, "steered", where, rates, **how))
        for seed in range(controls):
            spread = 1 + 0.05 * seed
            test.append(
                curve(name, remove, "permuted", where, {k: v * spread for k, v in damage.items()}, seed=seed + 1, **how)
            )
            test.append(
                curve(
                    name,
                    remove,
                    "random",
                    where,
                    {k: 0.55 * v * spread for k, v in damage.items()},
                    seed=seed + 1,
                    **how,
                )
            )
        reached = test[-1 - 2 * controls]["kept"]
        chosen.append({
            "remove": remove, "vector": name, "layers": list(where),
            "coefficient": coefficients[min(4, len(coefficients) - 1)],
            "reason": f"largest area on validation of {len(readings) * len(layers)} settings",
        })  # fmt: skip
        own = None if reached is None else reached["skills"][remove]["value"]
        other = None if reached is None else 0.82
        comparisons.append(
            comparison("steered against permuted", remove, name, "permuted coordinates, mean of 3 seeds", (own, other))
        )
        comparisons.append(
            comparison(
                "one layer against two", remove, "layer 9", "layers 9 and 12", (0.02, 0.05), measure="area", at=None
            )
        )
    return {
        "version": 1, "model": "SmolLM2-135M-Instruct", "layers": DEPTH, "unit": "norm",
        "corpora": [
            {"name": name, "role": role, "source": f"built in: {name}",
             "train": 400, "validation": 100, "test": 200, "tokens": 38_400}
            for name, role in CORPORA.items()
        ],
        "keep": "text", "retain": LEVEL, "metric": "top1_accuracy",
        "vectors": found, "cosines": cosines(found), "validation": validation, "test": test,
        "chosen": chosen, "comparisons": comparisons,
        "finding": ["Where text keeps 90 %, python falls further than under permuted coordinates.",
                    "Two layers do no better than one."],
    }  # fmt: skip


def write_record(folder: Path, plain: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "skills.json").write_text(json.dumps(plain), encoding="utf-8")
    return folder
