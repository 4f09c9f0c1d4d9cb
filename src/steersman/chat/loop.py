"""The conversation itself: a line comes in, an answer goes out, until there are no more lines.

What cannot be done is said in a sentence, and the chat goes on. Ctrl-C ends the answer and nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from steersman.chat.commands import obey
from steersman.chat.screen import Screen, clean
from steersman.chat.session import Session
from steersman.errors import SteersmanError
from steersman.model.generate import Generation
from steersman.model.live import Ticket

PATIENCE = 60.0
"""Seconds to wait for the end of an answer that was stopped: its row ends with the step under way."""


def converse(session: Session, screen: Screen, lines: Iterator[str]) -> None:
    """Answer lines until they end, or one says `/quit`.

    Args:
        session: the conversation.
        screen: where it shows.
        lines: what the person types, one message or command each; an iterator that raises KeyboardInterrupt is asked
            again.
    """
    while True:
        try:
            line = next(lines, None)
        except KeyboardInterrupt:
            screen.note("/quit or Ctrl-D leaves")
            continue
        if line is None or line.strip() == "/quit":
            return
        try:
            _answer_to(session, screen, line.strip())
        except SteersmanError as error:
            screen.note(str(error))
        except KeyboardInterrupt:
            screen.note("(stopped)")


def _answer_to(session: Session, screen: Screen, line: str) -> None:
    if not line:
        return
    if line.split() == ["/compare"]:
        _compare(session, screen)
    elif line.startswith("/") and not line.startswith("//"):
        obey(session, screen, line)
    else:
        _say(session, screen, line[1:] if line.startswith("//") else line)


def _say(session: Session, screen: Screen, said: str) -> None:
    ticket, prompt = session.ask(said)
    _tell_dropped(screen, prompt.dropped)
    warnings = session.steering.warnings()
    made = _followed(ticket, lambda: _pieces(ticket, screen))
    screen.answered(session.keep(said, made), warnings)


def _compare(session: Session, screen: Screen) -> None:
    said, plain, steered, prompt = session.again()
    _tell_dropped(screen, prompt.dropped)
    heads = ("unsteered", f"steered: {session.steering.words()}")
    tickets = (plain, steered)
    texts = ["", ""]
    with screen.comparing() as show:

        def follow() -> None:
            for number, ticket in enumerate(tickets):
                for token in ticket:
                    texts[number] += token.text
                    show(dict(zip(heads, texts, strict=True)))

        try:
            follow()
        except KeyboardInterrupt:
            for ticket in tickets:
                ticket.cancel()
        whole = [ticket.result(PATIENCE).text for ticket in tickets]
    screen.compared(said, dict(zip(heads, map(clean, whole), strict=True)))


def _followed(ticket: Ticket, follow: Callable[[], None]) -> Generation:
    """Return an answer once it has come to its end, or was stopped by Ctrl-C."""
    try:
        follow()
    except KeyboardInterrupt:
        ticket.cancel()
    # A second Ctrl-C while the step under way ends changes nothing.
    with suppress(KeyboardInterrupt):
        return ticket.result(PATIENCE)
    return ticket.result(PATIENCE)


def _pieces(ticket: Ticket, screen: Screen) -> None:
    for token in ticket:
        screen.piece(token.text)


def _tell_dropped(screen: Screen, dropped: int) -> None:
    if dropped:
        screen.note(
            f"({dropped} oldest turn{'' if dropped == 1 else 's'} left out: the model does not see more at once)"
        )
