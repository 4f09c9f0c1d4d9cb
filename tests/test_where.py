"""Sites and spans: the same tokens whatever the pass holds and wherever the padding stands."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from steersman.errors import InputError
from steersman.where import LARGEST, POINTS, SPANS, Site, Span, eligible_layers, layer_at, layers_in

# Prompt and completion lengths of every row of a batch.
batches = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=5)
# What a span is made of; the tests make it, since the type checker draws lots, which a strategy must not.
spans = st.one_of(
    st.tuples(st.sampled_from(SPANS), st.just(()), st.booleans()),
    st.tuples(st.just("first"), st.tuples(st.integers(1, 9)), st.booleans()),
    st.tuples(st.just("positions"), st.lists(st.integers(-4, 12), min_size=1).map(tuple), st.booleans()),
)
# Where a text ends, a pass that holds only its beginning cannot know.
foreseen = spans.filter(lambda parts: parts[0] != "end")
sides = st.sampled_from(["left", "right"])
suffixes = st.integers(0, 4)
huge = st.integers(0, LARGEST)


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


def selected(span, rows, side, suffix=0, begins=None):
    """The positions selected in every row."""
    where = positions(rows, side)
    mask = span.mask(where, lengths(rows), suffix, begins)
    return [row[kept].tolist() for row, kept in zip(where, mask, strict=True)]


def _negative(numbers):
    return [number for number in numbers if number < 0]


def defined(span, prompt, completion, suffix):
    """The positions that a span's words name, written down one by one."""
    text = range(prompt + completion)
    chosen = {
        "all": text,
        "prompt": range(prompt),
        "last": [prompt - 1],
        "end": [prompt + completion - 1],
        "generated": range(prompt, prompt + completion),
        "completion": range(prompt, prompt + completion),
        "after_instruction": [place for place in text if place >= prompt - suffix],
        "first": [place for place in text if span.numbers and place < span.numbers[0]],
        "positions": [place for place in text if place in span.numbers or place - prompt in _negative(span.numbers)],
    }[span.name]
    return [place for place in chosen if span.bos or place != 0]


def parsed(read, text):
    """What a text is read as, or `None` where it is refused as it should be: in one sentence."""
    try:
        return read(text)
    except InputError as error:
        message = str(error)
    assert message.startswith("expected ")
    assert len(message) < 400
    return None


# Spans: which tokens.


@given(batches, spans, sides, suffixes)
def test_a_span_selects_its_definition(rows, parts, side, suffix):
    span = Span(*parts)
    assert selected(span, rows, side, suffix) == [defined(span, p, c, suffix) for p, c in rows]


@given(batches, spans, suffixes)
def test_left_and_right_padding_select_the_same_tokens(rows, parts, suffix):
    span = Span(*parts)
    assert selected(span, rows, "left", suffix) == selected(span, rows, "right", suffix)


@given(batches, foreseen, suffixes, st.data())
def test_a_pass_in_slices_selects_what_the_full_pass_does(rows, parts, suffix, data):
    span = Span(*parts)
    where = positions(rows, "left")
    whole = span.mask(where, lengths(rows), suffix)
    cut = data.draw(st.integers(1, where.shape[1]))
    slices = [span.mask(part, lengths(rows), suffix) for part in where.split(cut, 1)]
    assert torch.equal(torch.cat(slices, 1), whole)


@given(batches, spans, suffixes, st.randoms())
def test_neighbours_and_their_order_do_not_matter(rows, parts, suffix, shuffler):
    span = Span(*parts)
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    one = selected(span, rows, "left", suffix)
    assert selected(span, [rows[i] for i in order], "left", suffix) == [one[i] for i in order]
    assert [selected(span, [row], "left", suffix)[0] for row in rows] == one


@given(batches, spans, sides, suffixes)
def test_padding_never_belongs(rows, parts, side, suffix):
    span = Span(*parts)
    where = positions(rows, side)
    assert not (span.mask(where, lengths(rows), suffix) & (where < 0)).any()


@given(batches, sides, suffixes)
def test_prompt_and_generated_divide_all_and_the_rest_lie_inside(rows, side, suffix):
    where = positions(rows, side)
    masks = {name: Span(name).mask(where, lengths(rows), suffix) for name in SPANS}
    assert torch.equal(masks["prompt"] | masks["generated"], masks["all"])
    assert not (masks["prompt"] & masks["generated"]).any()
    assert torch.equal(masks["completion"], masks["generated"])
    assert not (masks["last"] & ~masks["prompt"]).any()
    assert not (masks["generated"] & ~masks["after_instruction"]).any()
    assert torch.equal(masks["all"], where >= 0)
    assert masks["last"].sum(1).tolist() == masks["end"].sum(1).tolist() == [1] * len(rows)
    if suffix == 0:
        assert torch.equal(masks["after_instruction"], masks["generated"])


@given(batches, spans, sides, suffixes, st.data())
def test_without_bos_a_first_token_is_left_out_where_it_is_one(rows, parts, side, suffix, data):
    span = Span(*parts)
    begins = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    kept = selected(span, rows, side, suffix, torch.tensor(begins))
    whole = selected(Span(span.name, span.numbers), rows, side, suffix)
    for one, every, is_bos in zip(kept, whole, begins, strict=True):
        assert one == [place for place in every if span.bos or not is_bos or place != 0]


@given(st.integers(1, 8), st.integers(0, 8))
def test_first_is_the_positions_below_its_number(count, more):
    rows = [(count, more), (1, 0)]
    both = (Span("first", (count,)), Span("positions", tuple(range(count))))
    assert selected(both[0], rows, "left") == selected(both[1], rows, "left")


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.integers(0, 3))
def test_an_explicit_mask_selects_what_it_says_and_nothing_beyond(mask, more):
    rows = [(len(mask), more)]
    chosen = [index for index, wanted in enumerate(mask) if wanted]
    assert selected(Span.of_mask(mask), rows, "left") == [chosen]
    assert Span.of_mask(torch.tensor(mask)) == Span.of_mask(mask)


def test_a_mask_that_is_nowhere_true_is_refused():
    with pytest.raises(InputError, match="expected at least one 0-based position"):
        Span.of_mask([False, False])


# Spans: as text.


@given(spans)
def test_a_span_is_read_back_as_it_is_written(parts):
    span = Span(*parts)
    assert Span.parse(str(span)) == span
    assert Span.parse(span) is span


@given(huge.filter(bool), st.lists(huge, min_size=1), st.booleans())
def test_large_numbers_are_read_back(count, places, bos):
    for span in (Span("first", (count,), bos), Span("positions", tuple(places), bos)):
        assert Span.parse(str(span)) == span


@given(st.lists(st.integers(0, 50), min_size=1), st.randoms())
def test_positions_are_a_set(places, shuffler):
    other = [*places, places[0]]
    shuffler.shuffle(other)
    assert Span("positions", tuple(other)) == Span("positions", tuple(places))
    assert hash(Span("positions", tuple(other))) == hash(Span("positions", tuple(places)))


def test_mean_is_another_word_for_all():
    assert (Span.parse("mean"), Span.parse("mean-bos")) == (Span("all"), Span("all", bos=False))


@given(st.text(max_size=30) | st.from_regex(r"[a-z_]{1,12}(\([0-9, ]{0,12}\))?(-bos)?", fullmatch=True))
def test_any_text_is_a_span_or_refused_in_a_sentence(text):
    span = parsed(Span.parse, text)
    assert span is None or Span.parse(str(span)) == span


@pytest.mark.parametrize("text", ["", "everything", "ALL", "prompts", "all ", "all-BOS", "-bos", "first(3)bos", "²"])
def test_an_unknown_span_is_refused(text):
    with pytest.raises(InputError, match=r"expected a span among all, prompt, .*, first\(k\), positions\(i,j\), got"):
        Span.parse(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("first", r"expected first\(k\) with k of at least 1"),
        ("first()", r"expected first\(k\) with k of at least 1"),
        ("first(0)", r"expected first\(k\) with k of at least 1"),
        ("first(1,2)", r"expected first\(k\) with k of at least 1"),
        ("first(999999999999999999999)", r"expected first\(k\) with k of at least 1"),
        (f"first({'9' * 5000})", "expected whole numbers with commas between them"),
        ("first(1 2)", "expected whole numbers with commas between them"),
        ("first(-3)", r"expected first\(k\) with k of at least 1"),
        ("first(1-2)", "expected whole numbers with commas between them"),
        ("positions(-999999999999999999999)", "expected at least one 0-based position"),
        ("positions", "expected at least one 0-based position"),
        ("positions()", "expected at least one 0-based position"),
        ("positions(999999999999999999999)", "expected at least one 0-based position"),
        ("all(3)", "expected no numbers with the span 'all'"),
    ],
)
def test_numbers_that_do_not_go_with_a_span_are_refused(text, match):
    with pytest.raises(InputError, match=match) as caught:
        Span.parse(text)
    assert len(str(caught.value)) < 300


# Sites.

sites = st.one_of(
    st.builds(Site, st.integers(0, 999_999), st.sampled_from([point for point in POINTS if point != "head"])),
    st.builds(Site, st.integers(0, 999_999), st.just("head"), st.integers(0, 999_999)),
)


@given(sites)
def test_a_site_is_read_back_as_it_is_written(site):
    assert Site.parse(str(site)) == site


@given(sites, sites)
def test_sites_are_written_apart(one, two):
    assume(one != two)
    assert str(one) != str(two)


@given(st.text(max_size=20) | st.from_regex(r"[a-z_]{1,12}(\.[0-9]{0,8}){0,3}", fullmatch=True))
def test_any_text_is_a_site_or_refused_in_a_sentence(text):
    site = parsed(Site.parse, text)
    assert site is None or Site.parse(str(site)) == site


@pytest.mark.parametrize(
    "text",
    [
        *("", "resid_post", "resid_post.", "resid_post.x", "resid_post.-1", "14", "resid_post.²", "a.3"),
        *("head.3", "resid_post.3.1", "head.3.", "head.3.-1", "resid_post.99999999999999", "resid_post.1\n"),
    ],
)
def test_what_is_no_site_is_refused(text):
    with pytest.raises(InputError, match=r"expected a site such as 'resid_post\.14' or 'head\.14\.3', got"):
        Site.parse(text)


def test_sites_are_ordered_as_the_network_computes_them():
    heads = [Site(1, "head", 0), Site(1, "head", 2), Site(1, "head", 11)]
    block = [Site(1, "resid_pre"), *heads, Site(1, "attn_out"), Site(1, "mlp_out"), Site(1, "resid_post")]
    wanted = [Site(0), *block, Site(2, "resid_pre"), Site(10)]
    turned = wanted[::-1]
    assert sorted(turned) == wanted


@given(sites, sites, sites)
def test_the_order_is_total_and_goes_by_layer_first(a, b, c):
    assert [a < b, a == b, a > b].count(True) == 1
    assert (a <= b) == (not b < a)
    if a < b < c:
        assert a < c
    if a.layer != b.layer:
        assert (a < b) == (a.layer < b.layer)
    elif a.point != b.point:
        assert (a < b) == (POINTS.index(a.point) < POINTS.index(b.point))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((-1,), "0-based layer, got -1; resolve negative indices"),
        ((0, "head"), "expected a head for the point 'head' and for no other, got 'head', None"),
        ((0, "resid_post", 1), "expected a head for the point 'head' and for no other, got 'resid_post', 1"),
        ((0, "head", -1), "expected a 0-based head, got -1"),
    ],
)
def test_what_is_no_place_is_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        Site(*arguments)


# Layers as text and as shares of the depth.

depths = st.integers(1, 200)


@given(depths, st.data())
def test_an_index_counts_from_either_end(depth, data):
    index = data.draw(st.integers(0, depth - 1))
    assert layer_at(index, depth) == layer_at(index - depth, depth) == index
    assert layers_in(str(index), depth) == layers_in(str(index - depth), depth) == [index]


@given(depths, st.floats(0, 1), st.floats(0, 1))
def test_a_share_of_the_depth_is_a_block_and_grows_with_it(depth, one, two):
    low, high = sorted((one, two))
    assert 0 <= layer_at(low, depth) <= layer_at(high, depth) < depth
    assert (layer_at(0.0, depth), layer_at(1.0, depth)) == (0, depth - 1)


@given(depths, st.floats() | st.integers())
def test_a_place_outside_the_model_is_refused(depth, place):
    inside = 0 <= place <= 1 if isinstance(place, float) else -depth <= place < depth
    assume(not inside)
    with pytest.raises(InputError, match=r"expected a (share of the depth from 0 to 1|layer from)"):
        layer_at(place, depth)


@given(depths, st.data())
def test_a_range_is_a_slice_of_the_layers(depth, data):
    ends = st.none() | st.integers(-depth, depth)
    start, stop = data.draw(ends), data.draw(ends)
    wanted = list(range(depth))[start:stop]
    # 0 as an end is the first layer and not "no end"; the last one is written as the depth or left out.
    assume(start != depth and wanted)
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    assert layers_in(text, depth) == wanted


@given(depths, st.data())
def test_several_are_joined_sorted_and_once_each(depth, data):
    some = data.draw(st.lists(st.integers(-depth, depth - 1), min_size=1, max_size=6))
    assert layers_in(",".join(map(str, some)), depth) == sorted({index % depth for index in some})
    assert layers_in("all", depth) == layers_in(":", depth) == list(range(depth))
    assert layers_in(f"all,{some[0]}", depth) == list(range(depth))


def test_a_range_of_shares_takes_in_what_lies_between():
    assert layers_in("0.3:0.7", 30) == list(range(9, 21))
    assert layers_in("0.5:1.0", 4) == [2, 3]
    assert layers_in(" 8:16 , -1", 30) == [*range(8, 16), 29]


@pytest.mark.parametrize("text", ["", "x", "1;2", "1-3", "1:2:3", "0x3", "1e3", "nan", "all:3", "1,,2"])
def test_what_names_no_layers_is_refused(text):
    with pytest.raises(InputError, match=r"expected layers such as 14, -1, 0\.4, 8:16 or all, got"):
        layers_in(text, 30)


@pytest.mark.parametrize("text", ["3:3", "16:8", "-1:0", ":0"])
def test_an_empty_range_is_refused(text):
    with pytest.raises(InputError, match="expected a range of layers that holds one"):
        layers_in(text, 30)


@pytest.mark.parametrize("text", ["30", "-31", "1.5", "-0.1", "0:31"])
def test_layers_outside_the_model_are_refused(text):
    with pytest.raises(InputError, match=r"expected a (share of the depth from 0 to 1|layer from)"):
        layers_in(text, 30)


@given(st.text(max_size=12) | st.from_regex(r"[-0-9.:,a ]{1,10}", fullmatch=True), depths)
def test_any_text_names_layers_or_is_refused_in_a_sentence(text, depth):
    layers = parsed(lambda given: layers_in(given, depth), text)
    if layers is not None:
        assert layers == sorted(set(layers))
        assert layers
        assert 0 <= layers[0] <= layers[-1] < depth


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 1), st.integers(1, 5))
def test_eligible_layers_lie_between_the_depths(depth, low, high, stride):
    wanted = [layer for layer in range(depth) if low * depth <= layer and layer + 1 <= high * depth]
    if wanted:
        assert eligible_layers(depth, low, high) == wanted
        assert eligible_layers(depth, low, high, stride) == [layer for i, layer in enumerate(wanted) if i % stride == 0]
    else:
        with pytest.raises(InputError, match="at least one layer between depths"):
            eligible_layers(depth, low, high)
