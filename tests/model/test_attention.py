"""Attention in parts: what PyTorch's fused attention gives, behind shared beginnings too; used only where right."""

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from families import FAMILIES
from steersman.model import attention
from steersman.model.attention import NAME, SharedLayer, attend, attending, shareable, shared
from steersman.model.load import wrap
from steersman.model.trial import attends
from tiny import PROMPTS, tiny_model, tokenizer

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Module:
    """An attention module, as far as attention functions look at it."""

    def __init__(self, each=1, *, is_causal=True):
        self.num_key_value_groups, self.is_causal = each, is_causal


def drawn(rows, heads, groups, length, width=8, value_width=8):
    draw = torch.Generator().manual_seed(0)
    shapes = ((heads, width), (groups, width), (groups, value_width))
    return [3 * torch.randn(rows, count, length, size, generator=draw) for count, size in shapes]


def masks(rows, length, keys):
    """Causal, with some padding on the left of the last row; every query sees something."""
    mask = torch.ones(rows, 1, length, keys, dtype=torch.bool).tril(keys - length)
    mask[-1, :, 3:, keys - length : keys - length + 2] = False
    return mask


@pytest.fixture
def small(monkeypatch):
    """Parts of so few scores that every row falls into several."""
    monkeypatch.setattr(attention, "SCORES", 64)
    monkeypatch.setattr(attention, "FEWEST", 4)


@pytest.fixture
def never(monkeypatch):
    """No call to the fused attention."""

    def refuse(*_, **__):
        raise AssertionError("sdpa was asked")

    monkeypatch.setattr(attention, "sdpa_attention_forward", refuse)


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_it_gives_what_fused_attention_gives(heads, groups, masked, never):
    query, key, value = drawn(3, heads, groups, 11, value_width=5)
    mask = masks(3, 11, 11) if masked else None
    found, weights = attend(Module(heads // groups), query, key, value, mask)
    expected, _ = sdpa_attention_forward(Module(heads // groups), query, key, value, mask)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert weights is None


@pytest.mark.parametrize("masked", [False, True])
def test_long_rows_are_taken_in_parts(masked, small, never):
    query, key, value = drawn(3, 4, 2, 37)
    mask = masks(3, 37, 37) if masked else None
    found, _ = attend(Module(2), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(
        found, sdpa_attention_forward(Module(2), query, key, value, mask, scaling=0.3)[0], **CLOSE
    )


def test_parts_see_later_tokens_where_the_mask_says_so(small, never):
    query, key, value = drawn(2, 4, 2, 23)
    mask = torch.ones(2, 1, 23, 23, dtype=torch.bool)
    mask[0, :, :, 5:7] = False
    found, _ = attend(Module(2), query, key, value, mask)
    torch.testing.assert_close(found, sdpa_attention_forward(Module(2), query, key, value, mask)[0], **CLOSE)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("size", ["whole", "small"])
def test_rows_behind_shared_beginnings_see_them(size, padded, request):
    if size == "small":
        request.getfixturevalue("small")
    before, rows = drawn(2, 2, 2, 9)[1:], torch.tensor([1, 0, 0, 1, 1])
    cache = DynamicCache()
    cache.update(*before, 0)
    query, key, value = drawn(5, 4, 2, 7)
    mask = masks(5, 7, 16)
    if padded:
        mask[rows == 1, :, :, :4] = False
    behind = shared(cache, lambda _: rows, padded=padded)
    assert isinstance(behind.layers[0], SharedLayer)
    assert behind.get_seq_length() == 9
    found, _ = attend(Module(2), query, *behind.update(key, value, 0), mask)
    whole = [torch.cat([part[rows], own], 2) for part, own in zip(before, (key, value), strict=True)]
    expected, _ = sdpa_attention_forward(Module(2), query, *whole, mask)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert cache.get_seq_length() == 9  # the beginnings stay as they are


@pytest.mark.parametrize(
    "others",
    [
        {"position_bias": torch.linspace(-1, 1, 8 * 17).reshape(1, 1, 8, 17)},
        {"dropout": 1.0},
        {"attention_mask": torch.zeros(5, 1, 8, 17).index_fill(3, torch.tensor([3]), -torch.inf)},
    ],
)
def test_what_it_does_not_know_is_left_to_fused_attention(others):
    before, rows = drawn(2, 2, 2, 9)[1:], torch.tensor([1, 0, 0, 1, 1])
    cache = DynamicCache()
    cache.update(*before, 0)
    query, key, value = drawn(5, 4, 2, 8)
    others = {"attention_mask": masks(5, 8, 17)} | others
    found, _ = attend(Module(2), query, *shared(cache, lambda _: rows).update(key, value, 0), **others)
    whole = [torch.cat([part[rows], own], 2) for part, own in zip(before, (key, value), strict=True)]
    torch.testing.assert_close(found, sdpa_attention_forward(Module(2), query, *whole, **others)[0], **CLOSE)


def test_scores_are_not_rounded_to_bfloat16():
    query, key, value = drawn(2, 4, 2, 50, width=64)
    exact, _ = attend(Module(2), query.bfloat16().float(), key.bfloat16().float(), value.bfloat16().float(), None)
    found, _ = attend(Module(2), query.bfloat16(), key.bfloat16(), value.bfloat16(), None)
    fused, _ = sdpa_attention_forward(Module(2), query.bfloat16(), key.bfloat16(), value.bfloat16(), None)
    # Rounded scores would be off by more than four times as much.
    assert float((found.float() - exact).norm()) <= 2 * float((fused.float() - exact).norm())


def test_windows_of_attention_keep_copies():
    cache = DynamicCache()
    cache.update(*drawn(2, 2, 2, 9)[1:], 0)
    window = DynamicSlidingWindowLayer(sliding_window=6)
    window.update(*drawn(2, 2, 2, 9)[1:])
    cache.layers.append(window)
    found = shared(cache, lambda _: torch.tensor([1, 1, 0]))
    assert [type(layer) for layer in found.layers] == [SharedLayer, DynamicSlidingWindowLayer]
    assert len(found.layers[1].keys) == 3
    assert len(window.keys) == 2
    assert shareable(cache)
    cache.layers = cache.layers[1:]
    assert not shareable(cache)


def test_the_configuration_is_restored_also_by_an_error():
    model = tiny_model("llama")
    assert model.attention
    used = []

    def broken():
        used.append(model.hf.config._attn_implementation)
        raise KeyError

    with pytest.raises(KeyError), attending(model.attention):
        broken()
    assert [*used, model.hf.config._attn_implementation] == [NAME, "sdpa"]


def test_a_model_whose_attention_is_another_keeps_its_own(monkeypatch):
    model = tiny_model("llama")
    assert attends(model.hf, model.layout, model.accepts)
    monkeypatch.setattr(attention, "_bias", lambda seen, _: torch.zeros(seen.shape))  # no token is hidden
    assert attends(model.hf, model.layout, model.accepts) == []


def test_a_model_that_attends_eagerly_is_left_alone():
    model = tiny_model("llama")
    hf = type(model.hf)(model.hf.config)
    hf.config._attn_implementation = "eager"
    try:
        assert wrap(hf.eval(), tokenizer()).attention == []
    finally:
        hf.config._attn_implementation = "sdpa"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_scores_as_with_its_own_attention(name):
    model = wrap(FAMILIES[name](), tokenizer())
    if not model.attention:
        pytest.skip("keeps its own attention")
    texts = [f"{text} and more of it, so that rows share a beginning: {text}" for text in PROMPTS for _ in range(2)]
    ours = model.score(texts, [" yes", " no"] * len(PROMPTS), chat=False)
    vars(model)["attention"] = []
    own = model.score(texts, [" yes", " no"] * len(PROMPTS), chat=False)
    for one, other in zip(ours, own, strict=True):
        assert one.tokens == pytest.approx(other.tokens, rel=1e-3, abs=1e-3)
