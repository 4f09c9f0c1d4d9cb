"""A made-up `behaviours.json`, by formula: behaviours that move and ones that do not, letters that collapse."""

import json
import math
from itertools import pairwise
from pathlib import Path

NAMES = ("myopia", "wealth-seeking", "sycophancy", "agreeableness", "risk-taking")
LAYERS = (3, 9, 12, 15, 21, 27)
COEFFICIENTS = (-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4)
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTH = {"myopia": 1.0, "wealth-seeking": 0.6, "sycophancy": 0.02, "agreeableness": -0.5, "risk-taking": 0.35}
"""How far each margin moves, nats per token at coefficient 1 of the best layer; one does not move, one moves back."""
WAYS = ("mean", "sum", "gram-schmidt", "symmetric", "solve")


def estimate(value, half=0.05, n=300):
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def share(value, n=300):
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def moved(name, layer, coefficient):
    """Return a change of the margin: most at layer 15, bending back for large coefficients."""
    near = math.exp(-(((layer - 15) / 7) ** 2))
    return STRENGTH[name] * near * math.tanh(3 * coefficient)


def score(change, base=-0.3):
    return {
        "text": share(min(0.98, max(0.02, 0.4 + 0.3 * change))),
        "margin": estimate(base + change),
        "text_change": estimate(0.3 * change, 0.03),
        "margin_change": estimate(change),
    }


def collapse_words(count, total=300):
    words = (
        f"mode collapse by log-probability: A is the answer {count} of {total} times ({100 * count / total:.0f} %), so "
        f"the matching score only tells how often A matches (the matching answer is A 150 of {total} times)"
    )
    return [words]


def cosine(one, two):
    """Return the cosine of two behaviours: one pair that fights, one that reinforces."""
    if one == two:
        return 1.0
    known = {frozenset(NAMES[:2]): 0.42, frozenset(("myopia", "agreeableness")): -0.55}
    return known.get(frozenset((one, two)), 0.06 * math.cos(len(one) + len(two)))


def vector(name, reading, *, heavy=False):
    width, histograms = 576, []
    place = NAMES.index(name)
    rows = [
        {
            "layer": layer,
            "vector_norm": 2.0 + 0.4 * layer,
            "residual_norm": 40.0 + 6 * layer,
            "massive_share": (0.55 if layer < 8 else 0.12) if heavy else 0.03 + 0.01 * place + 0.0004 * layer,
            "separation": 0.55 + (0.38 - 0.05 * place) * math.exp(-(((layer - 15) / 9) ** 2)),
        }
        for layer in range(30)
    ]
    for layer in LAYERS:
        rms = (2.0 + 0.4 * layer) / math.sqrt(width)
        end = rms * (12 if heavy and layer < 8 else 4)
        edges = [end * (2 * place / 41 - 1) for place in range(42)]
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        counts = [round(width * 2 * end / 41 / rms * 0.4 * math.exp(-((x / rms) ** 2) / 2)) for x in middles]
        counts[-1] += 1
        histograms.append(
            {
                "layer": layer,
                "edges": edges,
                "counts": counts,
                "largest": [{"coordinate": 131, "value": end}, {"coordinate": 405, "value": -0.8 * end}],
            }
        )
    return {"behaviour": name, "reading": reading, "by_layer": rows, "histograms": histograms}


def grid(names):
    rows = []
    for name in names:
        for layer in LAYERS:
            for coefficient in COEFFICIENTS:
                change = moved(name, layer, coefficient)
                broken = abs(coefficient) >= 0.4 and layer <= 9
                rows.append(
                    {"behaviour": name, "layer": layer, "coefficient": coefficient, "eligible": not broken}
                    | {key: value for key, value in score(change).items() if key != "text_change"}
                    | {"why": "plain prose drifts by 1.20 nats per token, more than 0.5" if broken else ""}
                )
    return rows


def letters(names, *, given=True):
    rows = []
    for name in names:
        for layer in (9, 15):
            for coefficient in (-0.3, -0.1, 0.1, 0.3):
                most = min(1.0, 0.9 + 0.3 * abs(coefficient) + 0.001 * layer)
                rows.append(
                    {
                        "behaviour": name,
                        "layer": layer,
                        "coefficient": coefficient,
                        "letter": share(0.5),
                        "token": share(0.48),
                        "faulty": share(0.02),
                        "collapsed": most > 0.95,
                        "collapse": collapse_words(round(300 * most)) if most > 0.95 else [],
                    }
                    | ({"given": most} if given else {})
                )
    return rows


def member(name, layer, coefficient, effect=None, asked=None):
    asked = coefficient if asked is None else asked
    effect = asked if effect is None else effect
    outcome = "kept" if abs(effect - asked) < 0.3 * abs(asked) else "weakened"
    return {
        "behaviour": name,
        "site": f"resid_post.{layer}",
        "asked": asked,
        "coefficient": coefficient,
        "effect": effect,
        "outcome": outcome,
    }


def tax(change, n=2000):
    return {"accuracy": share(0.3 + change, n), "change": estimate(change, 0.012, n), "n": n}


def setting(name, kind, sign, scores, *, way=None, weighted=None, scale=None, members=(), taxed=None, warnings=()):
    return {
        "name": name,
        "kind": kind,
        "way": way,
        "weighted": weighted,
        "sign": sign,
        "scale": scale,
        "members": list(members),
        "warnings": list(warnings),
        "pushes": {each["site"]: abs(each["coefficient"]) for each in members},
        "scores": scores,
        "tax": None if taxed is None else tax(taxed),
    }


def together(names):
    """Return the ways of steering all at once as `(name, kind, way, weighted, what is left of each behaviour's)`."""
    found = [
        (f"{way}{', weighted' if weighted else ''}", "combined", way, weighted, 0.25 + 0.08 * place)
        for place, way in enumerate(WAYS)
        for weighted in (True, False)
    ]
    return [
        *found,
        ("simultaneous", "simultaneous", None, True, 0.8),
        ("one layer", "one layer", None, True, 0.6),
    ]


def settings(names, *, combination=True, taxed=True):
    rows = [setting("unsteered", "unsteered", 0, {name: score(0.0) for name in names}, taxed=0.0 if taxed else None)]
    for sign in (1, -1):
        mark = "+" if sign > 0 else "-"
        for name in names:
            change = {other: moved(name, 15, 0.3 * sign) * cosine(name, other) for other in names}
            cost = -0.004 * len(name) if taxed else None
            rows.append(
                setting(f"{name} {mark}", "single", sign, {other: score(value) for other, value in change.items()},
                        scale=1.0, members=[member(name, 15, 0.3 * sign)], taxed=cost)
            )  # fmt: skip
        for label, kind, way, weighted, left in together(names) if combination else ():
            scores = {name: score(left * moved(name, 15, 0.3 * sign)) for name in names}
            at = {name: 15 if kind != "simultaneous" else 12 + 3 * (place % 2) for place, name in enumerate(names)}
            members = [member(name, at[name], 0.15 * sign, 0.15 * sign * (1 + 0.4 * cosine(name, "myopia"))) for name in
                       names]  # fmt: skip
            rows.append(
                setting(f"{label} {mark}", kind, sign, scores, way=way, weighted=weighted, scale=0.5, members=members,
                        taxed=-0.03 * left if taxed else None,
                        warnings=["myopia at resid_post.15 and agreeableness at resid_post.15 fight: cosine -0.55"])
            )  # fmt: skip
        nothing = {name: score(0.01 * sign) for name in names}
        rows.append(setting(f"random {mark}", "random", sign, nothing, scale=0.5, taxed=-0.01 if taxed else None))
        asked = {name: score(0.3 * sign) for name in names}
        rows.append(setting(f"prompt {mark}", "prompt", sign, asked, taxed=-0.005 if taxed else None))
    return rows


def curves(names, *, taxed=True):
    rows = []
    for label, kind, _way, _weighted, left in together(names):
        for sign in (1, -1):
            points = []
            for scale in SCALES:
                change = {name: 1.6 * left * moved(name, 15, 0.3 * sign * scale) for name in names}
                points.append(
                    {
                        "scale": scale,
                        "margin_change": {name: estimate(value, n=120) for name, value in change.items()},
                        "text_change": {name: estimate(0.3 * value, 0.04, 120) for name, value in change.items()},
                        "tax": estimate(-0.05 * scale**2 * left, 0.03, 200) if taxed else None,
                        "drift": estimate(0.2 * scale**2, 0.02, 24),
                    }
                )
            rows.append(
                {"setting": f"{label} {'+' if sign > 0 else '-'}", "kind": kind, "sign": sign, "points": points}
            )
    return rows


def predictions(names, rows):
    found = []
    for row in rows:
        if row["kind"] in ("combined", "simultaneous", "one layer"):
            for each in row["members"]:
                name = each["behaviour"]
                alone = moved(name, 15, 0.3 * row["sign"])
                value = row["scores"][name]["margin_change"]["value"] / alone if name != "sycophancy" else 9.0
                predicted = each["effect"] / each["asked"]
                found.append(
                    {
                        "setting": row["name"],
                        "behaviour": name,
                        "predicted": predicted,
                        "measured": estimate(value, 0.2),
                        "agrees": predicted * value > 0 and name != "risk-taking",
                        "counts": name != "sycophancy",
                    }
                )
    return found


def behaviours(names=NAMES, *, combination=True, taxed=True, given=True, **changes):
    """Return a record as the study writes it."""
    rows = settings(names, combination=combination, taxed=taxed)
    combined = combination and len(names) > 1
    guesses = predictions(names, rows) if combined else []
    count = len(guesses)
    return {
        "version": 1,
        "model": "SmolLM2-135M-Instruct",
        "layers": 30,
        "unit": "norm",
        "behaviours": [
            {"name": name, "source": f"{name}.jsonl", "train": 500, "validation": 200, "test": 300} for name in names
        ],
        "vectors": [vector(name, "text", heavy=name == "sycophancy") for name in names],
        "cosines": [
            {"layer": layer, "names": list(names), "matrix": [[cosine(one, two) for two in names] for one in names]}
            for layer in LAYERS
        ]
        if len(names) > 1
        else [],
        "baseline": [
            {
                "behaviour": name,
                "text": share(0.4),
                "margin": estimate(-0.3),
                "letter": share(0.5),
                "token": share(0.49),
                "faulty": share(0.01),
                "collapse": collapse_words(294) if place % 2 else [],
            }
            | ({"given": 0.98 if place % 2 else 0.9} if given else {})
            for place, name in enumerate(names)
        ],
        "grid": grid(names),
        "letters": letters(names, given=given),
        "chosen": [
            {"behaviour": name, "sign": sign, "layer": 15, "coefficient": 0.3 * sign, "reason": "largest change of 24"}
            for name in names
            for sign in (1, -1)
        ],
        "curves": curves(names, taxed=taxed) if combined else [],
        "settings": rows,
        "predictions": guesses,
        "prediction": {
            "n": count,
            "sign_agreement": share(0.8, max(count, 1)) if count else None,
            "rank_correlation": estimate(0.4, 0.3, count) if count else None,
            "sentence": f"The sign agrees in 80 % of {count} cases." if count else "Nothing was predicted.",
        },
        "finding": ["Three of five behaviours move by words.", "Answers by letter collapse and say nothing."],
        **changes,
    }


def write_folder(folder: Path, record=None, *, summary=True, provenance=True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "behaviours.json").write_text(json.dumps(behaviours() if record is None else record))
    if summary:
        words = {"study": "behaviours", "title": "Five behaviours at once", "complete": True, "mode": "full"}
        (folder / "summary.json").write_text(json.dumps(words))
    if provenance:
        made = {"command": "steersman run behaviours", "versions": {"steersman": "0"}, "seeds": {"study": 0}}
        (folder / "provenance.json").write_text(json.dumps(made))
    return folder
