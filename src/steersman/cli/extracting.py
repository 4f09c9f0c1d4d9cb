"""The command that fits a direction: extract."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from steersman.cli.console import Bars, counting, say, show_json, show_table
from steersman.cli.options import AsJson, Device, Dtype, Force, Layers, ModelName, layers_asked, one_of, open_model
from steersman.cli.places import check_writable
from steersman.cli.sources import LIMIT, Wanted, material
from steersman.direction import Direction
from steersman.files import check_target, save_direction
from steersman.methods import METHODS, massive_warning
from steersman.where import POINTS, Site, Span

EXAMPLE = "Example: steersman extract --concept cheerful --opposite gloomy --out cheerful.safetensors"


def two_words(words: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return the two words, where neither is the next option, taken in for want of a second word."""
    for word in words or ():
        if word.startswith("--"):
            raise typer.BadParameter(f"expected two words, such as --words Love Hate, got the option {word} as one")
    return words


Out = Annotated[Path, typer.Option("--out", help="File to write, ending in .safetensors.")]
Pairs = Annotated[str | None, typer.Option("--pairs", help="refusal, honesty, or a JSONL file of pairs.")]
ContrastName = Annotated[
    str | None,
    typer.Option("--contrast", help="Of --pairs. completion: same prompt, two answers; prompt: two prompts; both."),
]
OpeningTokens = Annotated[
    int | None,
    typer.Option("--opening-tokens", min=1, help="Of --pairs. Keep only so many first tokens of every completion."),
]
Concept = Annotated[
    str | None, typer.Option("--concept", help="What to steer towards, such as cheerful; with --opposite.")
]
Opposite = Annotated[str | None, typer.Option("--opposite", help="What to steer away from, such as gloomy.")]
Words = Annotated[
    tuple[str, str] | None,
    typer.Option("--words", callback=two_words, help="Two words or short phrases, such as Love Hate: one pair."),
]
Items = Annotated[
    str | None,
    typer.Option(
        "--items", help="Built-in set, such as myopia, or JSONL: questions, one answer with a behaviour, one not."
    ),
]
Answer = Annotated[
    str | None,
    typer.Option("--answer", help="Of --items. letter: read at the answer's letter; text: the option's text."),
]
Positive = Annotated[
    str | None, typer.Option("--positive", help="A corpus: file, folder, or pattern in quotes; with --negative.")
]
Negative = Annotated[str | None, typer.Option("--negative", help="The corpus to set it against.")]
AgainstModel = Annotated[
    str | None, typer.Option("--against-model", help="A second model, to steer towards; with --texts.")
]
Texts = Annotated[str | None, typer.Option("--texts", help="The corpus that both models read.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help=f"Pairs, or texts of a kind; {LIMIT}, but all of --pairs.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of drawing them.")]
Method = Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")]
PointNames = Annotated[
    list[str] | None, typer.Option("--point", help=f"One of {', '.join(POINTS)}; may be given several times.")
]
Masked = Annotated[
    int | None, typer.Option("--mask-massive", min=1, help="Set so many of every vector's largest coordinates to zero.")
]
ReadSpan = Annotated[
    str | None,
    typer.Option("--span", help="Tokens to read: completion, last, end, all, first(k) ...; follows the source."),
]


def extract(
    destination: Out,
    pairs: Pairs = None,
    contrast: ContrastName = None,
    opening_tokens: OpeningTokens = None,
    concept: Concept = None,
    opposite: Opposite = None,
    words: Words = None,
    items: Items = None,
    answer: Answer = None,
    positive: Positive = None,
    negative: Negative = None,
    against_model: AgainstModel = None,
    texts: Texts = None,
    limit: Limit = None,
    seed: Seed = 0,
    method: Method = "mean_difference",
    layer: Layers = None,
    point: PointNames = None,
    span: ReadSpan = None,
    mask_massive: Masked = None,
    model: ModelName = "default",
    dtype: Dtype = "auto",
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fit a direction to pairs, a concept, two words, behaviour items, two corpora or two models."""
    wanted = Wanted(
        pairs=pairs, contrast=contrast, opening_tokens=opening_tokens, concept=concept, opposite=opposite, words=words,
        items=items, answer=answer, positive=positive, negative=negative, against_model=against_model, texts=texts,
        limit=limit, seed=seed,
    )  # fmt: skip
    how = METHODS[one_of("--method", method, METHODS)]()
    points = [one_of("--point", name, POINTS) for name in point or ["resid_post"]]
    found = material(wanted, lambda name: open_model(name, dtype, device))
    where = Span.parse(span or found.span)
    check_target(destination, force=force)
    check_writable(destination)
    loaded = open_model(model, dtype, device)
    layers = layers_asked(layer, loaded)
    with Bars() as bars, counting(bars, "record", found.count) as notify:
        acts = found.record(loaded, span=where, layers=layers, points=points, notify=notify)
    direction = how.fit(acts)
    if mask_massive:
        direction = direction.masked(mask_massive)
    elif warning := massive_warning(direction):
        say(f"note: {warning}; --mask-massive 2 does")
    save_direction(direction, destination, force=force, seed=seed)
    present(direction, found.what, destination, as_json)


def present(direction: Direction, what: str, destination: Path, as_json: bool) -> None:
    """Print a row for every site of a direction that was just saved."""
    rows = [
        {
            "site": str(site),
            "layer": site.layer,
            "vector_norm": float(direction.vectors[site].norm()),
            "residual_norm": direction.norms[site],
            "separation": direction.diagnostics.get("separation", {}).get(site),
            "split_half_cosine": direction.diagnostics.get("split_half_cosine", {}).get(site),
        }
        for site in direction.sites
    ]
    if as_json:
        show_json({"file": str(destination), "method": direction.method, "of": what, "layers": rows})
        return
    table = Table("layer", "vector norm", "residual norm", "held-out AUROC", "split-half cosine", box=None)
    for row, site in zip(rows, direction.sites, strict=True):
        cells = (row["separation"], row["split_half_cosine"])
        table.add_row(
            str(site.layer if site == Site(site.layer) else site),
            f"{row['vector_norm']:.2f}",
            f"{row['residual_norm']:.1f}",
            *("-" if cell is None else f"{cell:.3f}" for cell in cells),
        )
    show_table(table)
    sites = f"{len(rows)} site{'s' if len(rows) > 1 else ''}"
    say(f"{direction.method} of {what} at {sites}, saved to {destination}")
