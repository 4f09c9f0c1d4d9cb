"""What steers the answers: directions by name, each with its coefficient, a place and a span of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.errors import InputError
from steersman.model.handle import Handle
from steersman.plan import Plan
from steersman.range import USUAL
from steersman.ready import Ready
from steersman.where import Site, Span


@dataclass
class Steering:
    """The directions at hand and those that are turned on.

    Args:
        model: that is steered.
        known: the directions at hand, by name.
        active: coefficients by name, fractions of the residual norm.
        places: by name, where a direction acts other than at its own place.
        span: the tokens to steer; those that a direction's range was found for where `None`.
    """

    model: Handle
    known: Mapping[str, Ready]
    active: dict[str, float] = field(default_factory=dict[str, float])
    places: dict[str, Site] = field(default_factory=dict[str, Site])
    span: str | None = None

    def named(self, name: str) -> Ready:
        """Return a direction at the place where it acts.

        Raises:
            InputError: for an unknown name.
        """
        if name not in self.known:
            known = ", ".join(self.known) or "none; give --direction FILE or --directions FOLDER"
            raise InputError(f"expected the name of a direction ({known}), got {name!r}")
        held = self.known[name]
        return held.at(self.places[name]) if name in self.places else held

    def steer(self, name: str, coefficient: float | None = None) -> float:
        """Turn a direction on, off at 0, and return its coefficient: the recommended one where none is given.

        Raises:
            InputError: for an unknown name, or a coefficient that is none; nothing is changed then.
        """
        plan = self._part(name, coefficient)
        self.model.check(plan)
        value = next((step.coefficient for step in plan), 0.0)
        if value:
            self.active[name] = value
        else:
            self.active.pop(name, None)
        return value

    def off(self, name: str | None = None) -> None:
        """Turn one direction off, or all of them.

        Raises:
            InputError: for one that is not on.
        """
        if name is None:
            self.active.clear()
            return
        self.named(name)
        if name not in self.active:
            raise InputError(f"expected a direction that is on ({', '.join(self.active) or 'none is'}), got {name!r}")
        del self.active[name]

    def spread(self, span: str | None) -> None:
        """Steer other tokens; `None` for each direction's own.

        Raises:
            InputError: for a span that the model cannot have; nothing is changed then.
        """
        if span is not None:
            span = str(Span.parse(span))
            for name in self.active or list(self.known)[:1]:
                self.model.check(Plan(self.named(name).direction, span=span))
        self.span = span

    def move(self, place: str | None, name: str | None = None) -> list[str]:
        """Let a direction act at another layer that its file holds, or all that are on; return their names.

        Args:
            place: a layer (14, -1, 0.4) or a site (resid_post.14); `None` for each direction's own.
            name: of one; all that are on where not given.

        Raises:
            InputError: for a place that one of them does not hold; nothing is changed then.
        """
        names = [name] if name is not None else list(self.active)
        if not names:
            raise InputError("expected a direction that is on, or its name, to say where it acts; first /steer NAME")
        sites = {each: self._site(each, place) for each in names}
        for each, site in sites.items():
            if site is None:
                self.places.pop(each, None)
            else:
                self.places[each] = site
        return names

    def plan(self) -> Plan:
        """Return what is done to the model now; the empty plan where nothing is on."""
        whole = Plan()
        for name, coefficient in self.active.items():
            whole = whole + self._part(name, coefficient)
        return whole

    def warnings(self) -> list[str]:
        """Return a sentence for everything about the coefficients that a person should see before using them."""
        found: list[str] = []
        shares: list[float] = []
        for name, coefficient in self.active.items():
            ready = self.named(name)
            known = ready.range(1 if coefficient > 0 else -1)
            limit = USUAL if known is None else known.limit
            shares.append(abs(coefficient) / limit)
            if known is not None and (sentence := known.beyond(coefficient)):
                found.append(f"{name}: {sentence}")
            elif known is None and abs(coefficient) > USUAL:
                found.append(
                    f"{name}: coefficient {coefficient:g} is beyond {USUAL:g}, up to which text usually stays "
                    f"readable; nobody has measured it at {ready.site}"
                )
        if not found and sum(shares) > 1:
            found.append(
                f"{', '.join(self.active)} together come to {sum(shares):.1f} times what one of them may have; each is "
                "within its range, but nobody has tried them together"
            )
        return found

    def words(self) -> str:
        """Return what is on, in a few words; empty where nothing is."""
        return ", ".join(f"{name} {coefficient:+g}" for name, coefficient in self.active.items())

    def plain(self) -> list[dict[str, Any]]:
        """Return what is on as plain data."""
        return [
            {
                "name": name,
                "coefficient": coefficient,
                "unit": "norm",
                "site": str(self.named(name).site),
                "span": self.span or self.named(name).span,
                "digest": self._part(name, coefficient).digest(),
            }
            for name, coefficient in self.active.items()
        ]

    def _part(self, name: str, coefficient: float | None) -> Plan:
        return self.named(name).plan(coefficient, span=self.span)

    def _site(self, name: str, place: str | None) -> Site | None:
        self.named(name)
        if place is None:
            return None
        if place[:1].isalpha():
            return self.known[name].at(Site.parse(place)).site
        try:
            where = float(place) if "." in place else int(place)
        except ValueError:
            raise InputError(f"expected a layer such as 14, -1 or 0.4, or a site, got {place!r}") from None
        return self.known[name].at(where).site
