"""A direction in the making, in a thread of its own, so that the page can show how far it is."""

import threading

from steersman.web.desk import Desk
from steersman.web.making import Made, Progress, Wish, make


class Work(threading.Thread):
    """A direction in the making; it holds the desk's one place for that until it ends.

    Args:
        desk: what the visitors share.
        wish: what is asked for.
        quit_: set by whoever wants it to end.
    """

    def __init__(self, desk: Desk, wish: Wish, quit_: threading.Event) -> None:
        super().__init__(name="steersman-making", daemon=True)
        self.desk, self.wish, self.quit_ = desk, wish, quit_
        self.progress = Progress()
        self.made: Made | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Make it, and give the place back."""
        try:
            self.made = make(self.desk.model, self.wish, self.progress, self.quit_)
        except BaseException as error:
            self.error = error
        finally:
            self.desk.end_making()
