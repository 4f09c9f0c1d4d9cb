"""Figures of directions against their plain formulas, and the lens against the model's own logits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from steersman.direction import Direction
from steersman.errors import InputError, MismatchError, ModelError
from steersman.inspection import compare, find_lens, inspect_direction, layer_cosines, lens_tokens
from steersman.maths.geometry import cosine
from steersman.model.load import wrap
from steersman.model.loaded import Model
from steersman.where import Site
from tiny import DEPTH, WIDTH, direction, origin, tiny_network, tokenizer

# Figures.


def test_the_figures_are_the_formulas():
    held = direction(3, [0, 1, 3])
    found = inspect_direction(held)
    assert [row.site for row in found.sites] == held.sites
    for row in found.sites:
        vector = held.vectors[row.site].double()
        squares = sorted((vector**2).tolist(), reverse=True)
        assert row.vector_norm == pytest.approx(float(vector.norm()))
        assert row.residual_norm == held.norms[row.site]
        assert row.ratio == pytest.approx(row.vector_norm / row.residual_norm)
        assert row.massive_share == pytest.approx(sum(squares[:2]) / sum(squares))
    cosines = [row.next_cosine for row in found.sites]
    vectors = [held.vectors[site] for site in held.sites]
    assert cosines == [cosine(vectors[0], vectors[1]), cosine(vectors[1], vectors[2]), None]


def test_diagnostics_are_shown_as_the_direction_holds_them():
    names = ("separation", "split_half_cosine", "vote_share", "explained_variance")
    held = replace(direction(3, [0, 1]), diagnostics={name: {Site(1): index / 8} for index, name in enumerate(names)})
    first, second = inspect_direction(held).sites
    assert [getattr(first, name) for name in names] == [None] * 4
    assert [getattr(second, name) for name in names] == [0, 1 / 8, 2 / 8, 3 / 8]


def test_neighbours_are_layers_of_the_same_point_and_head():
    sites = [Site(0, "head", 1), Site(0, "attn_out"), Site(1, "head", 1), Site(1, "head", 2), Site(2, "attn_out")]
    vectors = {site: torch.randn(8 if site.head else WIDTH) for site in sites}
    found = inspect_direction(Direction(vectors, dict.fromkeys(sites, 1.0), origin(), "made up"))
    assert {row.site: row.next_cosine for row in found.sites} == {
        sites[0]: cosine(vectors[sites[0]], vectors[sites[2]]),
        sites[1]: cosine(vectors[sites[1]], vectors[sites[4]]),
        **dict.fromkeys(sites[2:], None),
    }
    assert layer_cosines(Direction(vectors, dict.fromkeys(sites, 1.0), origin(), "made up")).names == (
        "attn_out.0",
        "attn_out.2",
    )


def test_a_direction_of_massive_coordinates_is_warned_of_and_masking_is_named():
    wide = direction(1, [0, 2], width=256)
    assert inspect_direction(wide).warning is None
    peaked = wide.vectors[Site(2)].clone()
    peaked[7] = 50.0
    found = inspect_direction(replace(wide, vectors=wide.vectors | {Site(2): peaked}))
    assert found.sites[1].massive_share > 0.2
    assert found.warning is not None
    assert "resid_post.2" in found.warning
    assert "resid_post.0" not in found.warning
    assert "may follow massive activations more than the concept" in found.warning
    assert ".masked()" in found.warning


# Cosines.


def test_cosines_are_symmetric_with_ones_along_the_diagonal():
    found = layer_cosines(direction(3, [0, 1, 3]))
    values = torch.tensor(found.values)
    assert found.names == ("resid_post.0", "resid_post.1", "resid_post.3")
    assert torch.allclose(values, values.T)
    assert torch.allclose(values.diagonal(), torch.ones(3))
    assert values.abs().max() <= 1


def test_rounding_leaves_no_cosine_beyond_one():
    for seed in range(40):  # without the bound, seven of these come out a hair above 1
        vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
        assert cosine(vector, vector) <= 1
        assert cosine(vector, -vector) >= -1


def test_directions_are_compared_where_all_of_them_are():
    one, two = direction(1, [0, 1, 2]), direction(2, [1, 2, 3])
    turned = replace(one, vectors={site: -3 * vector for site, vector in one.vectors.items()})
    found = compare({"one": one, "two": two, "turned": turned})
    assert found.names == ("one", "two", "turned")
    assert list(found.by_site) == [Site(1), Site(2)]
    for site, square in found.by_site.items():
        assert square.values[0][2] == pytest.approx(-1)
        assert square.values[0][1] == cosine(one.vectors[site], two.vectors[site]) == square.values[1][0]


def test_what_cannot_be_compared_is_refused():
    one = direction(1, [0])
    with pytest.raises(InputError, match="expected two directions or more to compare, got 1"):
        compare({"one": one})
    with pytest.raises(InputError, match="expected a site that all of one, two hold, got none"):
        compare({"one": one, "two": direction(2, [1])})
    with pytest.raises(MismatchError, match=r"got two for width 64 and 4 layers; compare directions of one model"):
        compare({"one": one, "two": direction(1, [0], width=64)})


def test_heads_of_other_widths_are_not_compared():
    site = Site(0, "head", 1)
    one, two = (Direction({site: torch.ones(size)}, {site: 1.0}, origin(), "made up") for size in (8, 16))
    with pytest.raises(MismatchError, match=r"expected vectors of one width at head\.0\.1, got 8, 16"):
        compare({"one": one, "two": two})


# The lens.


def scramble_norms(network: nn.Module) -> None:
    """Give every norm a scale and a bias of its own, so that leaving them out would show."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and ("norm" in name or "ln_" in name):
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(params=["llama", "gpt2", "gemma2", "qwen2"])
def scrambled(request) -> Model:
    network = tiny_network(request.param, seed=3)
    scramble_norms(network)
    return wrap(network, tokenizer(), name=f"tiny-{request.param}", revision="0" * 64)


def test_the_lens_is_the_slope_of_the_logits_along_the_direction(scrambled):
    """At a hidden state that v does not lengthen, `logits(h + t v)` grows along `W_U (g * v)` but for one factor."""
    lens = find_lens(scrambled)
    assert lens.centres == ("gpt2" in scrambled.name)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(WIDTH, generator=generator, dtype=torch.float32)
    hidden -= hidden.mean()
    vector = torch.randn(WIDTH, generator=generator)
    # Orthogonal to the state: then the norm's divisor does not change to first order.
    vector -= (vector @ hidden) / (hidden @ hidden) * hidden
    norm = next(
        module for name, module in scrambled.hf.named_modules() if name.endswith(("model.norm", "transformer.ln_f"))
    )
    head = scrambled.hf.get_output_embeddings()
    with torch.no_grad():
        step = 1e-3
        slope = (head(norm(hidden + step * vector)) - head(norm(hidden - step * vector))) / (2 * step)
    assert cosine(slope, lens.logits(vector)) > 0.9999
    assert cosine(slope, head.weight.detach() @ vector) < 0.999  # the scale does matter here


def test_the_lens_leaves_no_hook(scrambled):
    tokens = torch.tensor([[3, 4, 5]])
    before = scrambled.hf(input_ids=tokens).logits
    find_lens(scrambled)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in scrambled.hf.modules())
    assert torch.equal(scrambled.hf(input_ids=tokens).logits, before)


def test_a_planted_token_is_the_nearest_and_the_farthest_of_the_opposite(scrambled):
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))
    vector -= vector.mean()
    token = scrambled.tokenizer.convert_tokens_to_ids("g")
    with torch.no_grad():
        scrambled.hf.get_output_embeddings().weight[token] = 9 * vector / find_lens(scrambled).scale
    held = direction(1, [0, 2])
    one, turned = (replace(held, vectors=held.vectors | {Site(2): sign * vector}) for sign in (1, -1))
    (found,), (other,) = (lens_tokens(scrambled, each, [Site(2)], top=5) for each in (one, turned))
    assert (found.site, found.towards[0]) == (Site(2), "g")
    assert (len(found.towards), len(found.away)) == (5, 5)
    assert (found.towards, found.away) == (other.away, other.towards)


def test_the_lens_does_not_care_for_length(llama):
    held = direction(1, range(DEPTH))
    longer = replace(held, vectors={site: 10 * vector for site, vector in held.vectors.items()})
    assert lens_tokens(llama, held, held.sites) == lens_tokens(llama, longer, held.sites)


def head(vector: torch.Tensor, site: Site) -> Direction:
    return Direction({site: vector}, {site: 1.0}, origin(), "made up")


def test_a_head_writes_through_its_columns_of_the_output_projection(scrambled):
    site, vector = Site(1, "head", 2), torch.randn(8, generator=torch.Generator().manual_seed(4))
    if "gemma2" in scrambled.name:
        with pytest.raises(ModelError, match=r"with a norm or another part behind it at head\.1\.2 .*attn_out\.1"):
            lens_tokens(scrambled, head(vector, site), [site])
        return
    block = scrambled.layout.blocks[1]
    gpt2 = "gpt2" in scrambled.name
    matrix = block.attn.c_proj.weight.detach().T if gpt2 else block.self_attn.o_proj.weight.detach()
    written = matrix[:, 16:24] @ vector
    there = Site(1, "attn_out")
    (found,) = lens_tokens(scrambled, head(vector, site), [site], top=5)
    (wanted,) = lens_tokens(
        scrambled, replace(direction(1, [1]), vectors={there: written}, norms={there: 1.0}), [there], 5
    )
    assert (found.towards, found.away) == (wanted.towards, wanted.away)
    assert found.site == site


@pytest.mark.parametrize("point", ["resid_pre", "attn_out", "mlp_out"])
def test_what_writes_to_the_stream_is_read_as_the_stream_is(llama, point):
    held = direction(1, [2])
    site = Site(2, point)
    written = replace(held, vectors={site: held.vectors[Site(2)]}, norms={site: 1.0})
    (found,), (plain,) = lens_tokens(llama, written, [site]), lens_tokens(llama, held, [Site(2)])
    assert (found.site, found.towards, found.away) == (site, plain.towards, plain.away)


def test_what_the_lens_cannot_show_is_refused(llama):
    held = direction(1, [0])
    with pytest.raises(InputError, match="expected at least one token each way, got 0"):
        lens_tokens(llama, held, held.sites, top=0)
    with pytest.raises(MismatchError, match=r"expected a direction of width 32 .* got width 64; name the model"):
        lens_tokens(llama, direction(1, [0], width=64), [Site(0)])
    with pytest.raises(InputError, match="expected a layer that the direction holds"):
        lens_tokens(llama, held, [Site(1)])
    with pytest.raises(MismatchError, match=r"expected a vector of width 8 at head\.0\.0, got 4"):
        lens_tokens(llama, head(torch.ones(4), Site(0, "head", 0)), [Site(0, "head", 0)])


def test_a_model_without_a_plain_way_to_the_logits_is_refused():
    network = tiny_network("llama", seed=3)
    model = wrap(network, tokenizer(), name="odd", revision="0" * 64)
    norm = network.model.norm
    network.model.norm = nn.Identity()
    lens = find_lens(model)  # no norm at all is fine
    assert torch.equal(lens.scale, torch.ones(WIDTH))
    network.model.norm = norm
    network.lm_head.register_forward_pre_hook(lambda _module, args: (args[0] * 2,))
    with pytest.raises(ModelError, match="expected nothing but a norm between the last block and the unembedding"):
        find_lens(model)
    network.get_output_embeddings = lambda: None
    with pytest.raises(ModelError, match="expected a model with an unembedding, got odd, which names none"):
        find_lens(model)
