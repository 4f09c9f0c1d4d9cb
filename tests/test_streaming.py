"""Streamed sums equal recorded activations, and neither memory grows with the number of texts."""

import gc
import itertools
import tracemalloc

import pytest
import torch

from steersman.activations import Moments
from steersman.errors import InputError
from steersman.maths.geometry import cosine
from steersman.methods import LDA, MeanDifference, PCACenter
from steersman.prompts import Example, Pair
from steersman.recording import Reader, record, record_texts
from steersman.streaming import record_moments, record_text_moments
from tiny import COMPLETIONS, DEPTH, PROMPTS, WIDTH

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def pairs(count, long=False):
    """Pairs made as they are asked for, of unlike lengths."""
    for number in range(count):
        prompt = PROMPTS[number % 5] + f" {number:3d} " * (30 if long else 1)
        yield Pair(f"p{number}", Example(prompt, f"{COMPLETIONS[number % 4]} yes"), Example(prompt, f" no{number}"))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_moments_are_those_of_the_recorded_activations(llama, batch_size, padding):
    few = list(pairs(37))
    whole = record(llama, few)
    expected, streamed = (
        Moments.of(whole),
        record_moments(llama, few, second=True, batch_size=batch_size, padding=padding),
    )
    assert streamed.origin == expected.origin == whole.origin
    assert streamed.sites == expected.sites
    assert streamed.paired
    for site in streamed.sites:
        assert streamed.norms[site] == pytest.approx(whole.norms[site], rel=1e-5)
        for one, other in zip(streamed.halves(site), expected.halves(site), strict=True):
            for name in ("positive", "negative", "differences"):
                mine, theirs = getattr(one, name), getattr(other, name)
                assert mine.count == theirs.count
                torch.testing.assert_close(mine.total, theirs.total, **CLOSE)
                torch.testing.assert_close(mine.outer, theirs.outer, rtol=1e-4, atol=1e-3)
                torch.testing.assert_close(mine.cubic, theirs.cubic, rtol=1e-4, atol=1e-2)
                assert mine.quartic == pytest.approx(theirs.quartic, rel=1e-5)


@pytest.mark.parametrize("method", [MeanDifference(), PCACenter(), LDA()], ids=lambda method: type(method).__name__)
def test_methods_find_the_same_in_streamed_moments(model, method):
    few = list(pairs(20))
    rows, moments = method.fit(record(model, few)), method.fit(record_moments(model, few, second=True))
    for site in rows.sites:
        assert cosine(rows.vectors[site], moments.vectors[site]) > 1 - 1e-5
        assert float(rows.vectors[site].norm() / moments.vectors[site].norm()) == pytest.approx(1, abs=1e-5)
        figure = "split_half_cosine"
        assert rows.diagnostics[figure][site] == pytest.approx(moments.diagnostics[figure][site], abs=1e-4)


def test_corpora_may_differ_in_size(llama):
    plus, minus = [pair.positive for pair in pairs(23)], [pair.negative for pair in pairs(9)]
    whole = record_texts(llama, plus, minus, span="all")
    streamed = record_text_moments(llama, iter(plus), iter(minus), span="all", batch_size=3, second=True)
    assert streamed.origin == whole.origin
    assert not streamed.paired
    for site in whole.sites:
        one, other = streamed.sides(site), whole.sides(site)
        assert (one.positive.count, one.negative.count) == (23, 9)
        torch.testing.assert_close(one.shift, other.shift, **CLOSE)
    assert [half.count for half in streamed.halves(whole.sites[0])] == [5, 4]


def test_texts_of_other_sites_are_streamed_too(llama):
    streamed = record_moments(llama, pairs(6), layers=[1], points=["attn_out", "head"])
    whole = record(llama, list(pairs(6)), layers=[1], points=["attn_out", "head"])
    for site in whole.sites:
        torch.testing.assert_close(streamed.sides(site).shift, whole.sides(site).shift, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": []}, "at least one pair"),
        ({"batch_size": 0}, "batch size of at least 1, got 0"),
        ({"layers": [4]}, "layer from -4 to 3, got 4"),
    ],
)
def test_what_cannot_be_recorded_is_refused(llama, arguments, message):
    with pytest.raises(InputError, match=message):
        record_moments(llama, **{"pairs": list(pairs(2))} | arguments)
    with pytest.raises(InputError, match="texts of both kinds, got 2 positive and 0 negative"):
        record_text_moments(llama, [Example("a"), Example("b")], [])


def watched_at(model, counts, measure, **arguments):
    """Return what is measured once so many texts have been read, each time with the garbage collected."""
    seen, measured = 0, []

    def notify(texts):
        nonlocal seen
        seen += texts
        if seen in counts:
            gc.collect()
            measured.append(measure())

    record_moments(model, pairs(max(counts) // 2, long=True), notify=notify, **arguments)
    return measured


def test_python_memory_does_not_grow_with_the_texts(llama):
    """Two hundred texts of two hundred tokens would hold 0.4 MB."""
    tracemalloc.start()
    first, last = watched_at(
        llama, (32, 256), lambda: tracemalloc.get_traced_memory()[0], batch_size=2, layers=[0], opening_tokens=1
    )
    tracemalloc.stop()
    assert last < first + 100_000, f"{first} bytes after 32 texts, {last} after 256"


def floats():
    """Return the number of elements in all live tensors of floats but the weights."""
    live = (each for each in gc.get_objects() if issubclass(type(each), torch.Tensor))
    return sum(each.numel() for each in live if each.is_floating_point() and not isinstance(each, torch.nn.Parameter))


def test_tensors_do_not_grow_with_the_texts(llama):
    """After a batch the sums alone stay: of its hidden states, `[4, 200, 32]` a layer, nothing does."""
    before, after = watched_at(llama, (16, 80), floats, batch_size=4, second=True)
    assert abs(after - before) <= 4 * WIDTH * DEPTH


def test_a_batch_is_added_up_before_the_next_is_read(llama, monkeypatch):
    """Passes and yields alternate, and no pass holds more rows than asked for."""
    events = []
    forward, batches = type(llama.layout.base).forward, Reader.batches

    def counted(self, *args, **arguments):
        events.append(len(arguments["input_ids"]))
        return forward(self, *args, **arguments)

    def watched(self, *args):
        for batch in batches(self, *args):
            events.append("added")
            yield batch

    monkeypatch.setattr(type(llama.layout.base), "forward", counted)
    monkeypatch.setattr(Reader, "batches", watched)
    record_moments(llama, pairs(11), batch_size=5)
    assert events[1::2] == ["added"] * (len(events) // 2)
    assert max(events[0::2]) == 4  # five rows hold two whole pairs
    assert sum(events[0::2]) == 22


def test_pairs_are_asked_for_only_as_they_are_needed(llama):
    taken = itertools.count()
    seen = []

    def source():
        for pair in pairs(80):
            next(taken)
            yield pair

    record_moments(llama, source(), batch_size=2, layers=[0], notify=lambda _: seen.append(int(repr(taken)[6:-1])))
    assert seen[0] < 80 == seen[-1]
