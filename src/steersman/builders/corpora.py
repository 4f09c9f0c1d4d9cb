"""Corpora: plain texts of one kind, from files, folders and JSONL; no chat template wraps them."""

from pathlib import Path

from steersman.builders.sampling import sampled
from steersman.errors import DataError, InputError
from steersman.prompts import Example, read_items, text_field


def corpus(
    source: str | Path, *, limit: int | None = 200, chars: int = 600, seed: int = 0, field: str = "text"
) -> list[Example]:
    """Return texts of at most `chars` characters, as examples for `record_texts` and `record_models`.

    Args:
        source: a file, a folder (all files below it), or a pattern such as `src/**/*.py`. A `.jsonl` file holds one
            text a line; any other file is cut into pieces that end between two words. Of a folder or a pattern, what
            is not UTF-8 text is left out.
        limit: so many texts, drawn from all; `None` takes all.
        chars: the longest text, in characters, at least 1.
        seed: of the draw.
        field: where the text stands in a line of JSONL.

    Raises:
        InputError: for a limit or a length below 1.
        DataError: for a path that leads to no text, a file that is not UTF-8 text, or a bad line, with its number.
    """
    if chars < 1:
        raise InputError(f"expected texts of at least 1 character, got {chars}")
    if not str(source).strip():
        raise DataError("expected a file, a folder or a pattern, got an empty path")
    path = Path(source).expanduser()
    texts: list[str] = []
    for each in [path] if path.is_file() else files_of(path):
        try:
            texts += _pieces(each, chars, field)
        except UnicodeDecodeError as error:
            if each == path:
                raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    if not texts:
        raise DataError(f"expected at least one text in {str(source)!r}, got none; give a file, a folder or a pattern")
    return [Example("", text) for text in sampled(texts, limit, seed)]


def files_of(path: Path) -> list[Path]:
    """Return the files below a folder, or those that fit a pattern, in the order of their names."""
    try:
        found = path.rglob("*") if path.is_dir() else Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        return sorted(each for each in found if each.is_file())
    except (ValueError, NotImplementedError) as error:  # such as a ** that is not a whole part of the path
        raise DataError(f"expected a file, a folder or a pattern, got {str(path)!r}: {error}") from None


def _pieces(path: Path, chars: int, field: str) -> list[str]:
    if path.suffix == ".jsonl":
        texts = read_items(path, lambda record: text_field(record, field), None)
        return [text.strip()[:chars] for text in texts]
    try:
        return _cut(path.read_text(encoding="utf-8-sig"), chars)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _cut(text: str, chars: int) -> list[str]:
    """Return the text in pieces of at most `chars` characters, cut at white space where there is any."""
    pieces: list[str] = []
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = start + chars
        if end < len(text):
            # One further, since white space right behind the piece is a good place to cut as well.
            space = max(text.rfind(blank, start + 1, end + 1) for blank in " \n\t")
            end = space if space > start else end
        pieces.append(text[start:end].rstrip())
        start = end
    return pieces
