"""The laws of every edit, on random hidden states, and agreement with the papers' formulas."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.plain_edits import FORMULAS
from steersman.edits import Ablate, Add, AddKeepingNorm, Clamp, Edit, Rotate
from steersman.errors import InputError, MismatchError
from steersman.plan import Plan
from tiny import direction

EDITS = [
    Add(),
    AddKeepingNorm(),
    Ablate(),
    Clamp(0.5),
    Clamp(-0.2, "above"),
    Clamp(0.3, "below"),
    Rotate(40),
    Rotate(-170),
]
IDS = [repr(edit) for edit in EDITS]
BATCH, LENGTH, WIDTH = 3, 4, 6
seeds = st.integers(0, 10_000)
fractions = st.floats(0, 1, allow_subnormal=False)
every = pytest.mark.parametrize("edit", EDITS, ids=IDS)


def draw(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(BATCH, LENGTH, WIDTH, generator=generator, dtype=dtype)
    one, two = (torch.randn(BATCH, WIDTH, generator=generator, dtype=dtype) for _ in range(2))
    return hidden, one, two


def run(edit, hidden, one, two, coefficient):
    rows = torch.full((len(hidden),), float(coefficient), dtype=hidden.dtype)
    return edit(hidden, one, rows, two if edit.planar else None)


def along(hidden, vector):
    return torch.einsum("bsd,bd->bs", hidden, vector / vector.norm(dim=-1, keepdim=True))


@every
@settings(max_examples=40, deadline=None)
@given(seed=seeds, coefficient=fractions)
def test_every_edit_is_the_papers_formula(edit, seed, coefficient):
    hidden, one, two = draw(seed)
    edited = run(edit, hidden, one, two, coefficient).numpy()
    for row in range(BATCH):
        for position in range(LENGTH):
            expected = FORMULAS[edit.name](
                hidden[row, position].numpy(), one[row].numpy(), coefficient, second=two[row].numpy(), **asdict(edit)
            )
            np.testing.assert_allclose(edited[row, position], expected, rtol=1e-9, atol=1e-9)


@every
@given(seed=seeds)
def test_coefficient_0_is_the_identity(edit, seed):
    hidden, one, two = draw(seed)
    torch.testing.assert_close(run(edit, hidden, one, two, 0.0), hidden, rtol=1e-12, atol=1e-12)


@every
@given(seed=seeds, coefficient=fractions)
def test_an_edit_leaves_its_input_alone_and_treats_rows_and_positions_alone(edit, seed, coefficient):
    hidden, one, two = draw(seed)
    before = hidden.clone()
    whole = run(edit, hidden, one, two, coefficient)
    assert torch.equal(hidden, before)
    for row in range(BATCH):
        for position in range(LENGTH):
            part = run(
                edit,
                hidden[row : row + 1, position : position + 1],
                one[row : row + 1],
                two[row : row + 1],
                coefficient,
            )
            torch.testing.assert_close(part[0, 0], whole[row, position])


@given(seed=seeds, coefficient=st.floats(-3, 3))
def test_adding_twice_is_adding_double_and_taking_away_comes_back(seed, coefficient):
    hidden, one, two = draw(seed)
    once = run(Add(), hidden, one, two, coefficient)
    torch.testing.assert_close(run(Add(), once, one, two, coefficient), run(Add(), hidden, one, two, 2 * coefficient))
    torch.testing.assert_close(run(Add(), once, one, two, -coefficient), hidden)


@given(seed=seeds, coefficient=st.floats(-3, 3))
def test_adding_with_the_norm_kept_keeps_it_and_points_where_adding_does(seed, coefficient):
    hidden, one, two = draw(seed)
    edited = run(AddKeepingNorm(), hidden, one, two, coefficient)
    torch.testing.assert_close(edited.norm(dim=-1), hidden.norm(dim=-1))
    added = run(Add(), hidden, one, two, coefficient)
    torch.testing.assert_close(edited / edited.norm(dim=-1, keepdim=True), added / added.norm(dim=-1, keepdim=True))


def test_adding_with_the_norm_kept_leaves_a_position_that_it_would_cancel():
    hidden = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    edited = AddKeepingNorm()(hidden, torch.tensor([[-3.0, -4.0]]), torch.ones(1))
    assert torch.equal(edited[0, 0], hidden[0, 0])
    assert torch.isfinite(edited).all()
    assert not torch.equal(edited[0, 1], hidden[0, 1])


@given(seed=seeds)
def test_ablation_removes_the_component_and_no_other_and_is_idempotent(seed):
    hidden, one, two = draw(seed)
    edited = run(Ablate(), hidden, one, two, 1.0)
    torch.testing.assert_close(along(edited, one), torch.zeros(BATCH, LENGTH, dtype=torch.float64))
    torch.testing.assert_close(run(Ablate(), edited, one, two, 1.0), edited)
    across = two - torch.einsum("bd,bd->b", two, one)[:, None] * one / (one * one).sum(-1, keepdim=True)
    torch.testing.assert_close(along(edited, across), along(hidden, across))


@given(seed=seeds, fraction=fractions)
def test_partial_ablation_leaves_the_rest(seed, fraction):
    hidden, one, two = draw(seed)
    torch.testing.assert_close(
        along(run(Ablate(), hidden, one, two, fraction), one), (1 - fraction) * along(hidden, one)
    )


@given(seed=seeds, scale=st.floats(0.01, 100))
def test_ablation_and_rotation_do_not_see_the_directions_length(seed, scale):
    hidden, one, two = draw(seed)
    for edit in (Ablate(), Rotate(33)):
        torch.testing.assert_close(run(edit, hidden, scale * one, two / scale, 0.7), run(edit, hidden, one, two, 0.7))


@given(seed=seeds, value=st.floats(-3, 3))
def test_clamping_hits_its_value_and_is_idempotent(seed, value):
    hidden, one, two = draw(seed)
    goal = value * one.norm(dim=-1)[:, None].expand(BATCH, LENGTH)
    both = run(Clamp(value), hidden, one, two, 1.0)
    torch.testing.assert_close(along(both, one), goal)
    torch.testing.assert_close(run(Clamp(value), both, one, two, 1.0), both)
    torch.testing.assert_close(
        along(run(Clamp(value, "above"), hidden, one, two, 1.0), one), along(hidden, one).minimum(goal)
    )
    torch.testing.assert_close(
        along(run(Clamp(value, "below"), hidden, one, two, 1.0), one), along(hidden, one).maximum(goal)
    )


@given(seed=seeds)
def test_clamping_to_zero_is_ablation(seed):
    hidden, one, two = draw(seed)
    torch.testing.assert_close(run(Clamp(0), hidden, one, two, 0.6), run(Ablate(), hidden, one, two, 0.6))


@given(seed=seeds, first=st.floats(-2, 2), second=st.floats(-2, 2))
def test_rotations_keep_norms_and_add_up(seed, first, second):
    hidden, one, two = draw(seed)
    turned = run(Rotate(50), hidden, one, two, first)
    torch.testing.assert_close(turned.norm(dim=-1), hidden.norm(dim=-1))
    torch.testing.assert_close(
        run(Rotate(50), turned, one, two, second), run(Rotate(50), hidden, one, two, first + second)
    )
    torch.testing.assert_close(run(Rotate(50), turned, one, two, -first), hidden)
    torch.testing.assert_close(run(Rotate(360), hidden, one, two, 1.0), hidden)


def test_a_quarter_turn_takes_the_first_direction_to_the_second():
    one, two = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[5.0, 3.0, 0.0]])
    hidden = torch.tensor([[[1.0, 0.0, 7.0]]])
    torch.testing.assert_close(Rotate(90)(hidden, one, torch.ones(1), two), torch.tensor([[[0.0, 1.0, 7.0]]]))


@pytest.mark.parametrize("edit", [Ablate(), Clamp(1.0)], ids=repr)
@pytest.mark.parametrize("coefficient", [-0.1, 1.01, 2.0])
def test_what_takes_a_fraction_refuses_other_coefficients(edit, coefficient):
    with pytest.raises(
        InputError, match=rf"fraction from 0 to 1 as the coefficient of '{edit.name}', got {coefficient:g}"
    ):
        Plan(direction(1), edit, coefficient=coefficient)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clamp(float("nan")), "finite value to clamp to"),
        (lambda: Clamp(1.0, "left"), "side among both, above, below, got 'left'"),
        (lambda: Rotate(float("inf")), "finite angle"),
        (lambda: Plan(direction(1), Rotate(30)), "expected a second direction for 'rotate'"),
        (lambda: Plan(direction(1), Add(), second=direction(2)), "one direction for 'add', got a second one"),
        (lambda: Plan(direction(1), Rotate(30), second=direction(1)), "span a plane, got parallel ones"),
        (lambda: Plan(direction(1, [2]), Rotate(30), second=direction(2, [1])), r"holds \(1\), got resid_post\.2"),
    ],
)
def test_what_cannot_be_done_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_two_directions_of_unlike_width_are_refused():
    with pytest.raises(MismatchError, match="one width, got 32 and 16"):
        Plan(direction(1), Rotate(30), second=direction(2, width=16))


def test_every_edit_is_one():
    assert {edit.name for edit in EDITS} == set(FORMULAS)
    for edit in EDITS:
        assert isinstance(edit, Edit)
        assert hash(edit) == hash(type(edit)(**asdict(edit)))
