"""The card of a direction: what it is, how it was fitted, how strong it is, in Markdown with the hub's front matter."""

import json
import re
from dataclasses import dataclass

from steersman.direction import Direction
from steersman.maths.geometry import length
from steersman.where import Site

_LENGTHS = (
    "Lengths are L2 norms. The residual norm is the mean over the tokens of the fitting texts; a coefficient in `norm` "
    "units is a fraction of it."
)
_BEYOND = (
    "Coefficients: from the onset on the behaviour shows, from the alarm on the text is no longer coherent; `-` is not "
    "known, or not reached. They are kept in the file, and steersman warns beyond them."
)
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Guidance:
    """A setting that was found good, for the card.

    Args:
        layer: 0-based decoder block.
        coefficient: how strongly.
        unit: of the coefficient, `norm` or `raw`.
        words: how that was found, and what it costs.
    """

    layer: int
    coefficient: float
    unit: str = "norm"
    words: str = ""


def card(
    direction: Direction,
    repository: str,
    filename: str,
    *,
    licence: str = "other",
    base_model: str | None = None,
    guidance: Guidance | None = None,
) -> str:
    """Return the card's text.

    Args:
        direction: what it is about.
        repository: `owner/name` where it lies.
        filename: of the artifact there.
        licence: by the hub's identifier.
        base_model: hub id of the model; the direction's own where that is one.
        guidance: a setting that was found good.
    """
    origin = direction.origin
    base = base_model or (origin.model if _HUB_ID.fullmatch(origin.model) else None)
    # JSON's strings are YAML's as well, whatever stands in them.
    front = ["tags:", "- steering-vector", "- steersman", "library_name: steersman", f"license: {json.dumps(licence)}"]
    front += [f"base_model: {json.dumps(base)}"] if base else []
    setting = guidance or _recommended(direction) or Guidance(direction.sites[len(direction.sites) // 2].layer, 0.3)
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        f"# {repository.rpartition('/')[2]}",
        _opening(direction, base),
        "## How it was fitted",
        _table(
            ("", ""),
            [
                ("method", direction.method),
                ("model", origin.model),
                ("weights", origin.revision or "not recorded"),
                ("chat template (sha256)", origin.template or "none"),
                ("tokens read", origin.span),
                ("pairs", str(origin.n) if origin.n else "not recorded"),
                ("data (sha256)", origin.data or "not recorded"),
            ],
        ),
        "## Sites",
        _sites(direction),
        _LENGTHS,
        "## Use",
        _usage(repository, filename, setting.layer, setting.coefficient, setting.unit, base),
        "## How strong",
        setting.words or _general(),
    ]
    if direction.ranges:
        parts += [_ranges(direction), _BEYOND]
    return "\n\n".join(parts) + "\n"


def _recommended(direction: Direction) -> Guidance | None:
    """Return the first coefficient that the direction's ranges recommend for an addition to a block's output."""
    for site in (site for site in direction.sites if site == Site(site.layer)):
        for unit in ("norm", "raw"):
            found = direction.at(site).recommendation(unit)
            if found is not None and found.coefficient is not None:
                return Guidance(site.layer, found.coefficient, unit, _plain(found.reason) or "As a selection found it:")
    return None


def _ranges(direction: Direction) -> str:
    """Return the table of ranges, coefficients with their signs."""
    rows: list[tuple[str, ...]] = []
    for each in direction.ranges:
        sizes = (each.onset, each.recommended, each.alarm, each.tried)
        signed = ("-" if size is None else f"{each.sign * size:.4g}" for size in sizes)
        rows.append((", ".join(map(str, (each.site, *each.beside))), each.unit, each.edit, each.span, *signed))
    return _table(("site", "unit", "edit", "span", "onset", "recommended", "alarm", "tried up to"), rows)


def _opening(direction: Direction, base: str | None) -> str:
    origin, count = direction.origin, len(direction.sites)
    return (
        f"A steering direction for **{_plain(base or origin.model)}**, whose {origin.depth} layers are {origin.width} "
        f"wide: a vector at {count} site{'s' if count > 1 else ''}, made with "
        "[steersman](https://pypi.org/project/steersman/)."
    )


def _sites(direction: Direction) -> str:
    names = sorted(direction.diagnostics)
    rows = [
        (
            str(site),
            f"{length(direction.vectors[site]):.4g}",
            f"{direction.norms[site]:.4g}",
            *(_number(direction, name, site) for name in names),
        )
        for site in direction.sites
    ]
    return _table(("site", "vector length", "residual norm", *(name.replace("_", " ") for name in names)), rows)


def _number(direction: Direction, name: str, site: Site) -> str:
    value = direction.diagnostics[name].get(site)
    return "-" if value is None else f"{value:.3f}"


def _usage(repository: str, filename: str, layer: int, strength: float, unit: str, base: str | None) -> str:
    file = "" if filename == "direction.safetensors" else f", {json.dumps(filename)}"
    lines = [
        "```python",
        "import steersman as sm",
        "from steersman.exchange import load_direction_from_hub",
        "",
        f"model = sm.load({json.dumps(base)})" if base else "model = sm.load()",
        f"direction = load_direction_from_hub({json.dumps(repository)}{file})",
        f'plan = sm.Plan(direction.at({layer}), coefficient={strength:g}, unit="{unit}")',
        'print(model.generate("Tell me about yourself.", plan))',
        "```",
    ]
    return "\n".join(lines)


def _general() -> str:
    return (
        "No coefficient was measured for this card: the one above is a place to start. In `norm` units text usually "
        "stays readable up to 0.3 to 0.5; a negative coefficient pushes the other way. Measure before relying on one: "
        "what it gains, and what it costs in fluency and knowledge, beside a random direction of equal length."
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *[tuple(map(_plain, row)) for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Return a text that is nothing but text in a Markdown table."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
