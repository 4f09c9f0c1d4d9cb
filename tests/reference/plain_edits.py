"""The edits as the papers write them, one position at a time, in float64; nothing of steersman takes part."""

import math

import numpy as np


def add(h, v, coefficient, **_):
    return h + coefficient * v


def add_keeping_norm(h, v, coefficient, **_):
    moved = h + coefficient * v
    return moved * math.sqrt(float(h @ h)) / math.sqrt(float(moved @ moved))


def ablate(h, v, coefficient, **_):
    """Arditi et al. (2024), equation 4: x' = x - r r^T x, here the fraction of it."""
    r = v / math.sqrt(float(v @ v))
    return h - coefficient * np.outer(r, r) @ h


def clamp(h, v, coefficient, value=0.0, side="both", **_):
    """All of the way: the component along r is replaced by value x |v|."""
    size = math.sqrt(float(v @ v))
    r = v / size
    now, goal = float(h @ r), value * size
    if (side == "above" and now <= goal) or (side == "below" and now >= goal):
        return h
    return h - coefficient * now * r + coefficient * goal * r


def rotate(h, v, coefficient, second=None, degrees=90.0, **_):
    """Vu and Nguyen (2025): h minus its projection on the plane, plus the projection turned by the angle."""
    one = v / math.sqrt(float(v @ v))
    two = second - (second @ one) * one
    two = two / math.sqrt(float(two @ two))
    t = math.radians(degrees * coefficient)
    turned = np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]]) @ np.array([h @ one, h @ two])
    plane = np.outer(one, one) + np.outer(two, two)
    return h - plane @ h + turned[0] * one + turned[1] * two


FORMULAS = {
    "add": add,
    "add_keeping_norm": add_keeping_norm,
    "ablate": ablate,
    "clamp": clamp,
    "rotate": rotate,
}
