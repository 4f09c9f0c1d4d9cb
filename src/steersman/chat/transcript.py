"""Transcripts: a conversation as JSON, with what steered each answer; written whole or not at all, read with doubt."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steersman.chat.history import Turn
from steersman.chat.session import Session
from steersman.errors import FileError, InputError
from steersman.files import said_plainly, write_json
from steersman.model.generate import Sampling
from steersman.version import VERSION

KIND = "steersman chat"
FORMAT = 1
LARGEST = 50_000_000
"""Bytes of a transcript that is read."""


def save(session: Session, path: str | Path, *, force: bool = False) -> Path:
    """Return the path of the transcript written.

    Args:
        session: the conversation.
        path: a file.
        force: replace an existing file.

    Raises:
        FileError: when the file exists and `force` is not given, or cannot be written.
    """
    target = Path(path).expanduser()
    if target.exists() and not force:
        raise FileError(f"{path} exists already; give another name, or /save {path} --force to replace it")
    write_json(target, plain(session), force=force)
    return target


def plain(session: Session) -> dict[str, Any]:
    """Return a conversation as plain data."""
    model = session.live.model
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": VERSION,
        "model": model.name,
        "revision": model.revision,
        "system": session.system,
        "sampling": asdict(session.sampling),
        "span": session.steering.span,
        "steering": session.steering.plain(),
        "turns": [asdict(turn) for turn in session.turns],
    }


def load(session: Session, path: str | Path) -> list[str]:
    """Go on where a transcript ends, and return what there is to say of it: what is not as it was.

    Args:
        session: takes over conversation, system prompt, sampling and steering.
        path: a file that `save` wrote.

    Raises:
        FileError: for a file that cannot be read or is no transcript; nothing is changed then.
    """
    record = _read(Path(path).expanduser())
    try:
        turns = [_turn(each) for each in _typed(record, "turns", list)]
        system = _typed(record, "system", str)
        drawn = _typed(record, "sampling", dict)
        sampling = Sampling(**drawn)
        session.check(sampling)
        span = None if record["span"] is None else _typed(record, "span", str)
        wanted = [
            (_typed(each, "name", str), float(_typed(each, "coefficient", (int, float))), _typed(each, "site", str))
            for each in _typed(record, "steering", list)
        ]
        digests = [_typed(each, "digest", str) for each in record["steering"]]
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: expected a transcript as /save writes it, got another one ({error})") from None
    remarks = [] if record.get("revision") == session.live.model.revision else [_other(record, session)]
    before = (session.steering.active.copy(), session.steering.places.copy(), session.steering.span)
    session.steering.off()
    session.steering.places.clear()
    try:
        session.steering.spread(span)
        for (name, coefficient, site), digest in zip(wanted, digests, strict=True):
            remarks += _turned_on(session, name, coefficient, site, digest)
    except InputError as error:
        session.steering.active, session.steering.places, session.steering.span = before
        raise FileError(f"{path}: {error}") from None
    session.turns[:] = turns
    session.system, session.sampling = system, sampling
    return remarks


def _turned_on(session: Session, name: str, coefficient: float, site: str, digest: str) -> list[str]:
    if name not in session.known:
        return [f"the direction {name!r} is not at hand: nothing steers in its place"]
    if site != str(session.known[name].site):
        session.steering.move(site, name)
    session.steering.steer(name, coefficient)
    if digest not in [each["digest"] for each in session.steering.plain() if each["name"] == name]:
        return [f"the direction {name!r} at hand is another one than the transcript's"]
    return []


def _other(record: Mapping[str, Any], session: Session) -> str:
    return f"the conversation was with {str(record.get('model'))[:80]!r}, other weights than {session.live.model.name}"


def _read(path: Path) -> dict[str, Any]:
    with said_plainly(path):
        if path.stat().st_size > LARGEST:
            raise FileError(f"{path}: expected a transcript of at most {LARGEST:,} bytes, got more")
        content = path.read_bytes()
    try:
        record = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: expected a transcript as JSON, got text that is not JSON ({error})") from None
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise FileError(f"{path}: expected a transcript as /save writes it, got other JSON")
    if record.get("format") != FORMAT:
        raise FileError(f"{path}: expected a transcript of format {FORMAT}, got {str(record.get('format'))[:20]}")
    return record


def _turn(record: Any) -> Turn:
    if not isinstance(record, dict):
        raise TypeError(f"a turn is {type(record).__name__}")
    return Turn(
        _typed(record, "said", str),
        _typed(record, "answer", str),
        _typed(record, "finish", str),
        _typed(record, "steering", list),
        _typed(record, "steps", list),
    )


def _typed(record: Mapping[str, Any], name: str, kind: Any) -> Any:
    if not isinstance(record[name], kind) or isinstance(record[name], bool):
        raise TypeError(f"{name!r} is {type(record[name]).__name__}")
    return record[name]
