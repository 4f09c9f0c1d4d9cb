"""Sites and spans: the same tokens whatever the pass holds and wherever the padding stands."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.where import SPANS, Site, check_span, span_mask

# Prompt and completion lengths of every row of a batch.
batches = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5)
spans = st.sampled_from(SPANS)


def positions(rows, side):
    """`[batch, seq]` positions of rows of so many tokens, padded at a side."""
    longest = max(prompt + completion for prompt, completion in rows)
    padded = []
    for prompt, completion in rows:
        real, gap = list(range(prompt + completion)), [-1] * (longest - prompt - completion)
        padded.append(gap + real if side == "left" else real + gap)
    return torch.tensor(padded)


def lengths(rows):
    return torch.tensor([prompt for prompt, _ in rows])


def selected(span, rows, side):
    """The positions selected in every row."""
    where = positions(rows, side)
    mask = span_mask(span, where, lengths(rows))
    return [row[kept].tolist() for row, kept in zip(where, mask, strict=True)]


@given(batches, spans, st.sampled_from(["left", "right"]))
def test_a_span_selects_its_definition(rows, span, side):
    expected = {
        "all": lambda p, c: range(p + c),
        "prompt": lambda p, _: range(p),
        "last": lambda p, _: [p - 1],
        "generated": lambda p, c: range(p, p + c),
        "completion": lambda p, c: range(p, p + c),
    }[span]
    assert selected(span, rows, side) == [list(expected(p, c)) for p, c in rows]


@given(batches, spans)
def test_left_and_right_padding_select_the_same_tokens(rows, span):
    assert selected(span, rows, "left") == selected(span, rows, "right")


@given(batches, spans, st.data())
def test_a_pass_in_slices_selects_what_the_full_pass_does(rows, span, data):
    where = positions(rows, "left")
    whole = span_mask(span, where, lengths(rows))
    cut = data.draw(st.integers(1, where.shape[1]))
    slices = [span_mask(span, part, lengths(rows)) for part in where.split(cut, 1)]
    assert torch.equal(torch.cat(slices, 1), whole)


@given(batches, spans, st.randoms())
def test_neighbours_and_their_order_do_not_matter(rows, span, shuffler):
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    one = selected(span, rows, "left")
    assert selected(span, [rows[i] for i in order], "left") == [one[i] for i in order]


@given(batches)
def test_prompt_and_generated_divide_all(rows):
    where = positions(rows, "left")
    masks = {span: span_mask(span, where, lengths(rows)) for span in SPANS}
    assert torch.equal(masks["prompt"] | masks["generated"], masks["all"])
    assert not (masks["prompt"] & masks["generated"]).any()
    assert not (masks["last"] & ~masks["prompt"]).any()
    assert torch.equal(masks["all"], where >= 0)


@given(st.integers(0, 10_000))
def test_a_site_is_read_back_as_it_is_written(layer):
    assert Site.parse(str(Site(layer))) == Site(layer)


@pytest.mark.parametrize(
    "text", ["", "resid_post", "resid_post.", "resid_post.x", "resid_post.-1", "14", "resid_post.²", "a.3"]
)
def test_what_is_no_site_is_refused(text):
    with pytest.raises(InputError, match=r"expected a site such as 'resid_post\.14', got"):
        Site.parse(text)


def test_sites_sort_by_depth():
    assert sorted([Site(10), Site(2), Site(0)]) == [Site(0), Site(2), Site(10)]


def test_a_negative_layer_is_refused():
    with pytest.raises(InputError, match="0-based layer, got -1; resolve negative indices"):
        Site(-1)


@pytest.mark.parametrize("name", ["", "everything", "ALL", "prompts"])
def test_an_unknown_span_is_refused(name):
    with pytest.raises(InputError, match=f"span among all, prompt, generated, last, completion, got '{name}'"):
        check_span(name)
    assert all(check_span(span) == span for span in SPANS)
