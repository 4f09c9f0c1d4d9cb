"""Where a command acts: what `--layer` and the file options name, found and checked before any model is loaded."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from steersman.cli.console import say
from steersman.direction import Direction
from steersman.errors import FileError, InputError, MismatchError
from steersman.exchange import find_direction
from steersman.files import facts_of, load_direction, said_plainly
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.where import Site, layers_in


def direction_named(text: str | Path, option: str = "--direction") -> Direction:
    """Return the direction in a file; for --direction, in a hub repository where no such file exists.

    Args:
        text: what was typed.
        option: behind which, for the sentence where it names something else.

    Raises:
        InputError: for a GGUF file or a plan file, with the command or the option that takes it.
        FileError: for a file that is missing or damaged.
    """
    path = Path(text).expanduser()
    if path.suffix == ".gguf" and path.exists():
        raise InputError(
            f"expected a direction file for {option}, got the GGUF file {str(text)!r}; first make one of it: "
            f"steersman import {text} --out {path.stem}.safetensors"
        )
    steering = option == "--direction"
    try:
        return find_direction(text) if steering else load_direction(path)
    except FileError:
        if is_artifact(path, "steersman plan"):
            takes = "; give it with --plan to generate, evaluate, sweep or export"
            what_to_do = takes if option in ("--direction", "FILES") else ""
            raise InputError(
                f"expected a direction file for {option}, got the plan file {str(text)!r}{what_to_do}"
            ) from None
        raise


def is_artifact(path: Path, kind: str) -> bool:
    """Return whether a file is a whole artifact of a kind: `steersman direction` or `steersman plan`."""
    try:
        return path.is_file() and facts_of(path, kind).kind == kind
    except FileError:
        return False


def check_writable(path: str | Path | None) -> None:
    """Return when a file could be made at a path, tried with a temporary one beside it; nothing is left behind.

    Raises:
        FileError: when it could not, with the reason.
    """
    if path is None:
        return
    target = Path(path).expanduser()
    with said_plainly(target):
        folder = next(parent for parent in target.absolute().parents if parent.exists())
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.")
        os.close(handle)
        Path(name).unlink()


def sites_at(direction: Direction, layers: Sequence[str] | None) -> Direction:
    """Return a direction at what the --layer options name.

    Where nothing was given, that is where the first range in the direction's file recommends a coefficient, else the
    usual layer.

    Args:
        direction: with the depth that layers are counted in.
        layers: layers (14, -1, 0.4, 8:16), sites (head.14.3, attn_out.14), with commas or several; `all` is every site
            that the direction holds.

    Raises:
        InputError: for what is no place, or one that the direction does not hold.
    """
    parts = [part.strip() for text in layers or [] for part in text.split(",")]
    if not parts:
        known = next((each.sites for each in direction.ranges if each.recommended is not None), None)
        return direction.at(*known) if known else direction.at(usual_layer(direction))
    if "all" in parts:
        return direction
    places: list[int | Site] = []
    for part in parts:
        if part[:1].isalpha() and "." in part:
            places.append(Site.parse(part))
        else:
            places += layers_in(part, direction.origin.depth)
    return direction.at(*places)


def one_site_at(direction: Direction, layers: Sequence[str] | None, option: str) -> Direction:
    """Return a direction at the one site that an option names.

    Args:
        direction: with one site there or several.
        layers: as in `sites_at`.
        option: `--layer` or `--gate-layer`, for the sentence.

    Raises:
        InputError: for several sites, with a choice among them.
    """
    at = sites_at(direction, layers)
    if len(at.sites) > 1:
        whole = next((site for site in at.sites if site.head is None), at.sites[0])
        raise InputError(
            f"expected one site for {option}, got {len(at.sites)}; give one with {option}, such as {whole}"
        )
    return at


def usual_layer(direction: Direction) -> int:
    """Return the layer nearest to 40 % of the depth, where steering usually works best, among those held."""
    target = 0.4 * direction.origin.depth
    return min(direction.sites, key=lambda site: abs(site.layer - target)).layer


def check_same_model(direction: Direction, other: Direction, option: str) -> None:
    """Return when two directions were made for models of one shape; say so where their weights differ.

    Args:
        direction: the one that steers.
        other: the one beside it.
        option: that the other one came with.

    Raises:
        MismatchError: when they were not.
    """
    one, two = direction.origin, other.origin
    if (one.width, one.depth) != (two.width, two.depth):
        raise MismatchError(
            f"expected a direction for the same model with {option}, width {one.width} and {one.depth} layers "
            f"({one.model}), got one made for another: width {two.width} and {two.depth} layers ({two.model})"
        )
    if one.revision and two.revision and one.revision != two.revision:
        say(f"note: what {option} names was fitted on {two.model}, other weights than {one.model} of the direction")


def check_fit(direction: Direction, model: Model, name: str = "the direction") -> None:
    """Return when a direction fits a model's shape; say so where it was fitted on other weights.

    Args:
        direction: all its sites.
        model: the model.
        name: of the direction, for the note.

    Raises:
        MismatchError: for another width or depth.
    """
    model.check(Plan(direction))
    if direction.origin.revision and model.revision and direction.origin.revision != model.revision:
        say(f"note: {name} was fitted on {direction.origin.model}, other weights than {model.name}")
