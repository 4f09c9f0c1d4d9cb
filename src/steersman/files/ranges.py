"""Ranges in files: written as they are, and checked like everything else that a file says.

They came after format 2 without a new number: an older steersman reads a file with ranges as one without, since it
leaves alone what it does not ask for, and steers exactly the same; all it lacks is the warning. A new number would have
kept the whole file from it. A file without ranges has the bytes it had before there were any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from steersman.errors import FileError, InputError
from steersman.files.container import field, short, site_named, strict_json
from steersman.range import Range

NAMES = {each.name for each in fields(Range)}
SIZES = (1e-60, 1e60)
"""Between what a size may lie, so that none that a file holds overflows when it is converted to another unit."""


def ranges_in(header: Mapping[str, Any], name: str = "ranges") -> tuple[Range, ...]:
    """Return the ranges in a header; none where it does not speak of any.

    Raises:
        InputError: for a range that is none, or fields that this version does not know.
        KeyError: for a missing field.
        TypeError: for a field of another type.
    """
    if name not in header:
        return ()
    return tuple(range_of(record) for record in field(header, name, list))


def range_of(record: Any) -> Range:
    """Return the range that `Range.plain` made a record of.

    Raises:
        InputError: for what is no range, or a field that this version does not know: it might narrow the range.
        KeyError: for a missing field.
        TypeError: for a field of another type.
    """
    if not isinstance(record, dict):
        raise TypeError(f"a range is {type(record).__name__}")
    if unknown := sorted(set(record) - NAMES):
        raise InputError(f"expected a range's fields {', '.join(sorted(NAMES))}, got {unknown[0][:80]!r} as well")
    sizes = {name: _size(record, name) for name in ("recommended", "onset", "alarm")}
    tried = _size(record, "tried")
    if tried is None:
        raise TypeError("'tried' is NoneType")
    return Range(
        site=site_named(field(record, "site", str)),
        sign=field(record, "sign", int),
        tried=tried,
        **sizes,
        unit=field(record, "unit", str),
        edit=field(record, "edit", str),
        span=field(record, "span", str),
        reason=field(record, "reason", str),
        beside=tuple(site_named(_text(name)) for name in field(record, "beside", list)),
    )


def ranges_in_text(text: str) -> tuple[Range, ...]:
    """Return the ranges in a JSON text, as a GGUF file's metadata hold it.

    Raises:
        FileError: for a text that holds anything else.
    """
    try:
        return ranges_in({"ranges": strict_json(text)})
    except (InputError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"expected ranges as steersman writes them, got others ({short(error)})") from None


def plain_ranges(ranges: Sequence[Range]) -> dict[str, list[dict[str, Any]]]:
    """Return what a header says of ranges: nothing where there are none."""
    return {"ranges": [each.plain() for each in ranges]} if ranges else {}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a site is {type(value).__name__}")
    return value


def _size(record: Mapping[str, Any], name: str) -> float | None:
    if record[name] is None:
        return None
    value = float(field(record, name, (int, float)))
    if not SIZES[0] <= value <= SIZES[1]:
        raise InputError(f"expected a positive number as a range's {name}, got {value}")
    return value
