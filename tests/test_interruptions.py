"""A batch whose keeping was cut short is computed with the rows it would have had, and kept in the same lines."""

import zlib

import pytest

from fakes import FakeEngine
from steersman import evaluation
from steersman.evaluation import measured
from steersman.model.score import Score
from steersman.prompts import Passage
from steersman.tasks import FluencyTask, Setting
from tiny import plan

TASK = FluencyTask([Passage(f"t{i}", f"text {i}") for i in range(3)])
SETTINGS = [
    Setting("unsteered"),
    Setting("steered", plan(1), site="resid_post.1", coefficient=1.0, unit="raw"),
    Setting("prompt", system="Refuse."),
]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 3)


class KilledError(Exception):
    """The process ends here."""


class Fragile(dict):
    """A store that a kill cuts off before its n-th line from now on."""

    lines: int | None = None

    def __setitem__(self, key, outcome):
        if self.lines is not None:
            if not self.lines:
                raise KilledError
            self.lines -= 1
        super().__setitem__(key, outcome)


class Contextual(FakeEngine):
    """An engine whose rounding hangs on all rows of a call, as a real one's can."""

    def score(self, prompts, completions, plans=None, **how):
        scores = super().score(prompts, completions, plans, **how)
        together = zlib.crc32(repr((list(completions), [each.digest() for each in plans])).encode()) / 2**32
        return [Score(tuple(value - together / 1000 for value in each.tokens)) for each in scores]


BEFORE = {"a fresh run": [], "two settings known": [SETTINGS[0], SETTINGS[2]], "the last known": [SETTINGS[2]]}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("before", BEFORE)
def test_killed_between_any_two_lines_the_engine_gets_the_same_rows_and_the_store_is_the_same(before, count):
    task = FluencyTask([Passage(f"t{i}", f"text {i}") for i in range(count)])
    settings = [*SETTINGS, Setting("steered", plan(1).scaled(2), coefficient=2.0)]

    def begun():
        """A store in which some settings were measured before the others were asked for."""
        store = Fragile()
        measured(Contextual(), [task], BEFORE[before], context="", store=store)
        return store

    calm, engine = begun(), Contextual()
    measured(engine, [task], settings, context="", store=calm)
    lines = len(calm) - len(begun())
    assert lines == count * (4 - len(BEFORE[before]))
    for first in range(lines):
        for second in (None, *range(lines - first)):
            store, asked = begun(), []
            for allowed in (first, *(() if second is None else (second,)), None):
                store.lines, again = allowed, Contextual()
                try:
                    measured(again, [task], settings, context="", store=store)
                except KilledError:
                    assert allowed is not None
                asked += again.log
            # Also the lines' order: two runs' stores are the same file.
            assert list(store.items()) == list(calm.items())
            assert [call for call in engine.log if call not in asked] == []
            assert [call for call in asked if call not in engine.log] == []


def test_what_is_partly_there_is_computed_with_all_and_kept_as_it_is():
    store, engine = {}, FakeEngine()
    measured(FakeEngine(), [TASK], SETTINGS[:2], context="", store=store)
    key = list(store)[-1]
    held = dict(list(store.items())[:-1])
    # The one that was cut short, the one that was kept before it, and the one that is new.
    measured(engine, [TASK], SETTINGS, context="", store=held)
    assert [len(call[1]) for call in engine.log] == [3 * 3]
    assert held[key] == store[key]
    assert list(held)[: len(store) - 1] == list(store)[:-1]


def test_only_what_is_new_to_a_finished_batch_is_computed():
    store, engine = {}, FakeEngine()
    measured(FakeEngine(), [TASK], SETTINGS[:2], context="", store=store)
    measured(engine, [TASK], SETTINGS, context="", store=store)
    assert [(call[2], call[3]) for call in engine.log] == [((SETTINGS[2].plan.digest(),) * 3, ("Refuse.",) * 3)]
