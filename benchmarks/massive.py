"""Massive activations oppose the vectors of two alike skills: on a planted model, and looked for on real ones.

    python benchmarks/massive.py [--model planted|default|FOLDER|FILE.gguf] [--texts 100] [--tokens 64] [--json]
                                 [--plot FILE.png] [--without]

Van der Weij et al. (2024) fitted vectors text-minus-code and text-minus-Python at the last token. In early layers 56
to 93 % of their energy lay in two coordinates, and the two came out opposed (cosine -0.88) until these were masked
(+0.59). Both vectors are fitted here by `record_texts` and `MeanDifference`, at the last token and as a mean over
tokens; shares and cosines are computed raw, with each vector's own two largest coordinates masked, and with the two
coordinates masked that are largest in the activations of all three corpora.

The planted model is a tiny Llama with random weights, longer embeddings and single characters as tokens. Only its
second block's MLP is changed: for each of three characters that end a statement, one neuron recognises the character
by its embedding and writes to the same two coordinates of the residual stream, with a strength of the character's
own. That is what delimiters do in language models (Sun et al., 2024, "Massive activations in large language models":
few coordinates, the same for all, at delimiters and the first token). English ends in a full stop, Python in a line
break, C++ in a semicolon; the full stop's strength lies between the other two. So what stands last, and nothing else,
opposes the vectors, while the characters before it make both kinds of code alike. No vector, share or cosine is
planted: `--without` leaves the weights as they were drawn, and the first block lies before the change.
"""

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import steersman as sm
from steersman.activations import Activations
from steersman.builders.documents import built_in_documents, drawn
from steersman.direction import Direction
from steersman.maths.geometry import cosine, massive_share
from steersman.model.load import wrap
from steersman.prompts import Example
from steersman.recording import record_texts
from steersman.where import Site

COUNT = 2
"""Coordinates that are looked at and masked, as in the paper."""
SKILLS = ("python", "cpp")
WIDTH, DEPTH, PLANTED_BLOCK = 256, 6, 1
COORDINATES = {37: 1.0, 151: -0.7}
"""Which coordinates the planted neurons write to, and how much of a strength to each."""
STRENGTHS = {".": 12.0, "\n": 22.0, ";": 2.0}
"""What a neuron writes where it knows its character, in units of a residual stream about 3 long: such that the share of
the energy comes out about as high as in the paper."""

NOUNS = ["river", "garden", "letter", "winter", "teacher", "market", "window", "story", "island", "morning"]
VERBS = ["finds", "keeps", "follows", "leaves", "remembers", "paints", "carries", "watches"]
NAMES = ["total", "index", "value", "count", "size", "left", "right", "node"]
CALLS = ["read", "next", "push", "find", "update", "merge"]


@dataclass(frozen=True)
class Row:
    """What was found at a layer.

    Args:
        span: `last` token, or `all`, the mean over tokens.
        layer: 0-based; the block's output.
        residual_norm: mean length of the activations.
        size: mean size of the largest coordinate of the activations, in medians over the coordinates.
        massive: the two coordinates of the largest mean size in the activations.
        largest: the two largest coordinates of each skill's vector.
        ratio: length of each vector in residual norms.
        share: of each vector's energy in its two largest coordinates, 0 to 1.
        raw: cosine between the two vectors.
        own: the same with each vector's own two largest coordinates masked.
        shared: the same with the activations' two largest coordinates masked.
    """

    span: str
    layer: int
    residual_norm: float
    size: float
    massive: tuple[int, ...]
    largest: dict[str, tuple[int, ...]]
    ratio: dict[str, float]
    share: dict[str, float]
    raw: float
    own: float
    shared: float


def tokenizer() -> Any:
    """Return a tokenizer of single characters; `<bos>` begins a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<bos>", "\n", *map(chr, range(32, 127))]
    core = Tokenizer(models.WordLevel({each: place for place, each in enumerate(letters)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<bos>")


def planted(*, change: bool = True, seed: int = 0) -> sm.Model:
    """Return the tiny model, with the neurons that write massive activations or as its weights were drawn."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.02,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        # As long as what a block writes, so that a later block still knows which character it stands on.
        network.model.embed_tokens.weight *= 10
    if change:
        plant(network, words)
    return wrap(network, words, name="planted", revision=f"{seed}".rjust(64, "0"))


@torch.no_grad()
def plant(network: Any, words: Any) -> None:
    """Give one neuron to each delimiter: it knows the character's embedding and writes to the two coordinates."""
    mlp = network.model.layers[PLANTED_BLOCK].mlp
    for neuron, (character, strength) in enumerate(STRENGTHS.items()):
        embedding = network.model.embed_tokens.weight[words.convert_tokens_to_ids(character)]
        known = embedding / embedding.norm()
        # A normed state has length sqrt(d): where it is the embedding alone, gate and up are that, and their product 1.
        mlp.gate_proj.weight[neuron] = known
        mlp.up_proj.weight[neuron] = known / WIDTH
        mlp.down_proj.weight[:, neuron] = 0.0
        for coordinate, share in COORDINATES.items():
            mlp.down_proj.weight[coordinate, neuron] = share * strength


def made_up(count: int, seed: int = 0) -> dict[str, list[Example]]:
    """Return three corpora of a few lines each; nine in ten end as their kind does, the others in the middle."""
    draw = random.Random(seed)

    def english() -> str:
        return f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)} of a {draw.choice(NOUNS)}."

    def python() -> str:
        name = draw.choice(NAMES)
        return f"{name}[{draw.randrange(9)}] = self.{draw.choice(CALLS)}({draw.choice(NAMES)}, {draw.randrange(99)})\n"

    def cpp() -> str:
        name = draw.choice(NAMES)
        return f"{name}[{draw.randrange(9)}] = this->{draw.choice(CALLS)}({draw.choice(NAMES)}, {draw.randrange(99)});"

    def text(kind: Any) -> str:
        whole = " ".join(kind() for _ in range(draw.randint(1, 3)))
        return whole if draw.random() < 0.9 else whole[: -draw.randint(2, 9)]

    kinds = {"english": english, "python": python, "cpp": cpp}
    return {name: [Example("", text(kind)) for _ in range(count)] for name, kind in kinds.items()}


def real(model: sm.Model, count: int, tokens: int) -> dict[str, list[Example]]:
    """Return the built-in corpora cut to so many tokens: prose of docstrings, the standard library, C++ headers."""
    found: dict[str, list[Example]] = {}
    for name in ("english", *SKILLS):
        texts = drawn([built_in_documents(name)], "train", count, characters=8 * tokens)
        ids = model.tokenizer([each.text for each in texts], add_special_tokens=False)["input_ids"]
        found[name] = [Example("", model.tokenizer.decode(row[:tokens])) for row in ids]
    return found


def fitted(
    model: sm.Model, corpora: dict[str, list[Example]], span: str, layers: Sequence[int]
) -> tuple[dict[str, Activations], dict[str, Direction]]:
    """Return what was read, and the vectors text minus skill."""
    codes = [example for name in SKILLS for example in corpora[name]]
    both = record_texts(model, corpora["english"], codes, span=span, layers=layers)
    read: dict[str, Activations] = {}
    start = 0
    for name in SKILLS:
        stop = start + len(corpora[name])
        read[name] = replace(both, negative={site: rows[start:stop] for site, rows in both.negative.items()})
        start = stop
    return read, {name: sm.MeanDifference().fit(each) for name, each in read.items()}


def measured(span: str, site: Site, read: dict[str, Activations], held: dict[str, Direction]) -> Row:
    """Return the figures at a site."""
    first, second = (held[name].at(site) for name in SKILLS)
    rows = torch.cat([read["python"].positive[site], *(read[name].negative[site] for name in SKILLS)])
    sizes = rows.abs().double().mean(0)
    massive = tuple(sizes.topk(COUNT).indices.tolist())

    def between(one: Direction, other: Direction) -> float:
        return cosine(one.vectors[site], other.vectors[site])

    return Row(
        span,
        site.layer,
        residual_norm=first.norms[site],
        size=float(sizes.max()) / statistics.median(sizes.tolist()),
        massive=massive,
        largest={name: tuple(held[name].vectors[site].abs().topk(COUNT).indices.tolist()) for name in SKILLS},
        ratio={name: float(held[name].vectors[site].norm()) / held[name].norms[site] for name in SKILLS},
        share={name: massive_share(held[name].vectors[site], COUNT) for name in SKILLS},
        raw=between(first, second),
        own=between(first.masked(COUNT), second.masked(COUNT)),
        shared=between(first.masked(dimensions=massive), second.masked(dimensions=massive)),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    lines = [
        "                 largest/  energy in two   length      cosine of text-python and text-cpp",
        "span  layer norm   median  python   cpp  python  cpp   raw    own two masked  activations' two  coordinates",
    ]
    for row in rows:
        (p, c), (one, two) = ([each[name] for name in SKILLS] for each in (row.share, row.ratio))
        seen = "; ".join(" ".join(map(str, each)) for each in (*row.largest.values(), row.massive))
        lines.append(
            f"{row.span:5} {row.layer:5} {row.residual_norm:6.4g} {row.size:6.0f}  {p:6.0%} {c:5.0%}  {one:6.2f} "
            f"{two:4.2f}  {row.raw:+.2f}           {row.own:+.2f}             {row.shared:+.2f}  {seen}"
        )
    return "\n".join(lines)


def draw_histograms(held: dict[str, Direction], layer: int, target: Path) -> None:
    """Write how many coordinates of each vector have which value, raw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for panel, (name, each) in zip(figure.subplots(1, len(held), sharey=True), held.items(), strict=True):
        values = each.vectors[Site(layer)]
        panel.hist(values.tolist(), bins=80, log=True, color="#4477aa")
        panel.set_title(f"text minus {name}, layer {layer}: {massive_share(values, COUNT):.0%} in {COUNT} coordinates")
        panel.set_xlabel("value of a coordinate (units of the residual stream)")
    figure.axes[0].set_ylabel("coordinates")
    figure.savefig(target, dpi=150)


def findings(
    model: sm.Model, corpora: dict[str, list[Example]], layers: Sequence[int], plot: Path | None = None
) -> list[Row]:
    """Return the figures at the last token and of the mean over tokens, at some layers."""
    rows: list[Row] = []
    for span in ("last", "all"):
        read, held = fitted(model, corpora, span, layers)
        rows += [measured(span, Site(layer), read, held) for layer in layers]
        if plot is not None and span == "last":
            most = max(rows, key=lambda row: min(row.share.values()))
            draw_histograms(held, most.layer, plot)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="planted", help="planted, default, a folder or a GGUF file")
    parser.add_argument("--texts", type=int, default=100, help="of each of the three corpora")
    parser.add_argument("--tokens", type=int, default=64, help="of a text, at most; not of the planted model's")
    parser.add_argument("--without", action="store_true", help="the planted model with its weights as they were drawn")
    parser.add_argument("--plot", type=Path, help="where to write the coordinates' histograms")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.model == "planted":
        model, corpora = planted(change=not arguments.without), made_up(arguments.texts)
        layers: Sequence[int] = range(model.depth)
    else:
        model = sm.load(arguments.model)
        corpora = real(model, arguments.texts, arguments.tokens)
        layers = sorted({round(part * (model.depth - 1) / 9) for part in range(10)})
    rows = findings(model, corpora, layers, arguments.plot)
    counts = {name: len(texts) for name, texts in corpora.items()}
    if arguments.json:
        print(json.dumps({"model": model.name, "texts": counts, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(f"{model.name}, texts {counts}\n{table(rows)}")


if __name__ == "__main__":
    main()
