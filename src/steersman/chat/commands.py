"""The commands of the chat: lines that begin with a slash. Each changes the session or shows something of it."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.chat import transcript
from steersman.chat.screen import Screen
from steersman.chat.session import Session
from steersman.chat.steering import Steering
from steersman.errors import InputError
from steersman.ready import Ready

OWN = "own"
"""The word for a direction's own place or span."""


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        usage: how it is written.
        does: what it does, in a few words.
        run: with what stands behind its name, as one text; `None` for what the loop does itself.
    """

    usage: str
    does: str
    run: Callable[[Session, Screen, str], None] | None


def obey(session: Session, screen: Screen, line: str) -> None:
    """Do what a line that begins with a slash says.

    Raises:
        InputError: for an unknown command, or words that it cannot take.
    """
    name, _, rest = line[1:].strip().partition(" ")
    if name not in COMMANDS:
        raise InputError(
            f"expected a command ({', '.join('/' + each for each in COMMANDS)}), got '/{name[:40]}'; a message that "
            "begins with a slash is written with two"
        )
    command = COMMANDS[name]
    if command.run is None:
        raise InputError(f"expected {command.usage} alone, got {rest.strip()[:80]!r} behind it")
    command.run(session, screen, rest.strip())


def words_after(session: Session, line: str) -> list[str]:
    """Return what could stand in the place of the last word of an unfinished line: commands, then directions."""
    head, space, last = line.rpartition(" ")
    if not space:
        return [f"/{name}" for name in COMMANDS if f"/{name}".startswith(last)]
    steering = session.steering
    choices: dict[str, Sequence[str]] = {
        "/steer": list(session.known),
        "/off": list(steering.active),
        "/layer": [*session.known, OWN],
        "/span": ["all", "prompt", "generated", "after_instruction", "last", OWN],
    }
    return [each for each in choices.get(head.strip(), ()) if each.startswith(last)]


def _steer(session: Session, screen: Screen, rest: str) -> None:
    words = _words(rest, 2, "/steer NAME COEFFICIENT, such as /steer cheerful 0.3")
    if words:
        value = session.steering.steer(words[0], _number(words[1], "a coefficient such as 0.3") if words[1:] else None)
        ready = session.steering.named(words[0])
        if value:
            screen.note(f"{words[0]} {value:+g} at {ready.site}: {_toward(ready, value)}")
    screen.note(f"steering: {session.steering.words() or 'nothing'}")
    _warn(session.steering, screen)


def _off(session: Session, screen: Screen, rest: str) -> None:
    session.steering.off(rest or None)
    screen.note(f"steering: {session.steering.words() or 'nothing'}")


def _directions(session: Session, screen: Screen, rest: str) -> None:
    _nothing(rest, "/directions")
    if not session.known:
        screen.note("no direction is at hand; give --direction FILE or --directions FOLDER")
        return
    rows: list[list[str]] = []
    for name in session.known:
        ready = session.steering.named(name)
        slider, on = ready.slider, session.steering.active.get(name)
        known = f"{slider.low:+.2g} to {slider.high:+.2g}" + ("" if slider.known else " (usual)")
        start = f"{ready.start:+g}" if ready.start else "-"
        rows.append([name, ready.title, str(ready.site), known, start, "-" if on is None else f"{on:+g}"])
    screen.table(("name", "up / down", "site", "coherent (norm)", "recommended", "now"), rows)


def _span(session: Session, screen: Screen, rest: str) -> None:
    words = _words(rest, 1, "/span SPAN, such as /span generated, or /span own")
    if words:
        session.steering.spread(None if words[0] == OWN else words[0])
    screen.note(f"span: {session.steering.span or 'of each direction its own'}")


def _layer(session: Session, screen: Screen, rest: str) -> None:
    words = _words(rest, 2, "/layer [NAME] LAYER, such as /layer cheerful 12, or /layer own")
    if not words:
        names = list(session.steering.active) or list(session.known)
    else:
        place = None if words[-1] == OWN else words[-1]
        names = session.steering.move(place, words[0] if words[1:] else None)
    for name in names:
        held = ", ".join(str(site) for site in session.known[name].held.sites)
        screen.note(f"{name} acts at {session.steering.named(name).site}; its file holds {held}")
    _warn(session.steering, screen)


def _system(session: Session, screen: Screen, rest: str) -> None:
    if rest:
        session.system = "" if rest == "off" else rest
    screen.note(f"system prompt: {session.system or 'the model’s own'}")


def _reset(session: Session, screen: Screen, rest: str) -> None:
    _nothing(rest, "/reset")
    session.forget()
    screen.note(f"a new conversation; steering: {session.steering.words() or 'nothing'}")


def _seed(session: Session, screen: Screen, rest: str) -> None:
    if rest:
        session.draw(seed=_whole(rest, "a seed such as 7"))
    screen.note(f"seed: {session.sampling.seed}")


def _temperature(session: Session, screen: Screen, rest: str) -> None:
    if rest:
        session.draw(temperature=_number(rest, "a temperature such as 0.7, or 0"))
    how = "the likeliest token each time" if session.sampling.temperature == 0 else "tokens are drawn"
    screen.note(f"temperature: {session.sampling.temperature:g} ({how})")


def _length(session: Session, screen: Screen, rest: str) -> None:
    if rest:
        session.draw(length=_whole(rest, "a number of tokens such as 200"))
    screen.note(f"answers have at most {session.sampling.max_new_tokens} tokens")


def _save(session: Session, screen: Screen, rest: str) -> None:
    words = _words(rest, 2, "/save FILE, with --force to replace it", least=1)
    if words[1:] not in ([], ["--force"]):
        raise InputError(f"expected /save FILE, with --force to replace it, got {rest!r}")
    screen.note(f"transcript: {transcript.save(session, words[0], force=bool(words[1:]))}")


def _load(session: Session, screen: Screen, rest: str) -> None:
    (path,) = _words(rest, 1, "/load FILE", least=1)
    remarks = transcript.load(session, path)
    count = len(session.turns)
    screen.note(f"{count} turn{'' if count == 1 else 's'}; steering: {session.steering.words() or 'nothing'}")
    for remark in remarks:
        screen.warn(remark)
    _warn(session.steering, screen)


def _help(_: Session, screen: Screen, rest: str) -> None:
    _nothing(rest, "/help")
    screen.table(("command", "what it does"), [(each.usage, each.does) for each in COMMANDS.values()])
    screen.note("Ctrl-C stops an answer, Ctrl-D leaves; Tab completes commands and names.")


def _warn(steering: Steering, screen: Screen) -> None:
    for sentence in steering.warnings():
        screen.warn(sentence)


def _toward(ready: Ready, value: float) -> str:
    return (ready.up if value > 0 else ready.down) or ("up" if value > 0 else "down")


def _words(rest: str, most: int, usage: str, *, least: int = 0) -> list[str]:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise InputError(f"expected {usage}, got {rest!r} ({error})") from None
    if not least <= len(words) <= most:
        raise InputError(f"expected {usage}, got {rest!r}")
    return words


def _nothing(rest: str, usage: str) -> None:
    if rest:
        raise InputError(f"expected {usage} alone, got {rest!r} behind it")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"expected {what}, got {text!r}") from None


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"expected {what}, got {text[:40]!r}") from None


COMMANDS: dict[str, Command] = {
    "steer": Command("/steer NAME [COEFFICIENT]", "turn a direction on; the recommended coefficient if none", _steer),
    "off": Command("/off [NAME]", "turn one direction off, or all of them", _off),
    "compare": Command("/compare", "answer the last message again, unsteered and steered side by side", None),
    "directions": Command("/directions", "list the directions at hand and their ranges", _directions),
    "span": Command("/span [SPAN]", "steer other tokens: all, prompt, generated, ..., own", _span),
    "layer": Command(
        "/layer [NAME] [LAYER]", "let directions act at another layer that their file holds, or own", _layer
    ),
    "system": Command("/system [TEXT]", "set the system prompt; off takes it away", _system),
    "reset": Command("/reset", "begin a new conversation", _reset),
    "seed": Command("/seed [N]", "seed of the draws", _seed),
    "temperature": Command("/temperature [T]", "0 takes the likeliest token each time", _temperature),
    "length": Command("/length [N]", "tokens of an answer at most", _length),
    "save": Command("/save FILE [--force]", "write the transcript with its steering as JSON", _save),
    "load": Command("/load FILE", "go on where a transcript ends", _load),
    "help": Command("/help", "this list", _help),
    "quit": Command("/quit", "leave", None),
}
"""By name, in the order of the help."""
