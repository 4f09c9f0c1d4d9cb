"""What rows share at their beginning: found where it pays, and read on behind."""

import pytest
import torch

from steersman.model import prefixes
from steersman.model.attention import attending
from steersman.model.encode import pad
from steersman.model.hooks import capturing
from steersman.model.prefixes import arguments_behind, by_beginning, read_beginning, shared_length
from steersman.where import Site
from tiny import tiny_model

SHARED = list(range(10, 30))


@pytest.mark.parametrize(
    ("rows", "length"),
    [
        ([[*SHARED, number] for number in range(14)], 20),
        ([[*SHARED, number] for number in range(13)], 0),  # spares 240 tokens
        ([[*SHARED[:7], number] for number in range(99)], 0),  # seven tokens
        ([SHARED] * 14, 20),
        ([SHARED, *[[*SHARED, 1, 2, 3]] * 14], 20),
        ([[]] * 99, 0),
        ([SHARED], 0),
        ([[1, *SHARED], *[[2, *SHARED]] * 99], 0),
    ],
)
def test_a_beginning_is_shared_where_it_pays(rows, length):
    assert shared_length(rows) == length


def test_rows_are_parted_where_a_longer_beginning_pays():
    first, second = [1, 2, 3, *range(100, 160)], [1, 2, 4, *range(200, 260)]
    rows = [[*(second if number % 2 else first), number] for number in range(40)]
    groups = by_beginning([*rows, [1, 2, 5], [9]])
    assert sorted(map(sorted, groups)) == [list(range(0, 40, 2)), list(range(1, 40, 2)), [40, 41]]


def test_rows_stay_together_where_no_part_pays():
    rows = [[1, 2, 3, number % 5, number] for number in range(40)]
    assert [sorted(group) for group in by_beginning(rows)] == [list(range(40))]
    assert [sorted(group) for group in by_beginning([SHARED] * 3)] == [[0, 1, 2]]


def test_every_row_is_in_one_group(monkeypatch):
    monkeypatch.setattr(prefixes, "SPARED", 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        lengths = torch.randint(0, 9, (30,), generator=generator).tolist()
        rows = [torch.randint(0, 2, (length,), generator=generator).tolist() for length in lengths]
        assert sorted(row for group in by_beginning(rows) for row in group) == list(range(30))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_rows_behind_a_beginning_are_read_as_whole(family):
    model = tiny_model(family)
    rows = [[*SHARED, *range(5, 5 + extra)] for extra in (1, 7, 3)]
    seen = []

    def take(_site, hidden, _progress):
        seen.append(hidden.clone())

    with torch.no_grad(), capturing(model, [Site(model.depth - 1)], take, torch.tensor([20])):
        beginning = read_beginning(model, SHARED)
    for _ in range(2):  # what a pass leaves in the cache is its own copy's
        watched = capturing(model, [Site(model.depth - 1)], take, torch.tensor([20] * 3))
        with torch.no_grad(), watched, attending(model.attention):
            model.layout.base(**arguments_behind(model, beginning, rows))
    for number, row in enumerate(rows):
        batch = pad(model, [row], [len(row)])
        with torch.no_grad(), capturing(model, [Site(model.depth - 1)], take):
            model.layout.base(input_ids=batch.tokens, attention_mask=batch.mask)
        own = slice(0, len(row) - len(SHARED))
        torch.testing.assert_close(seen[0][0], seen[-1][0, :20], rtol=1e-4, atol=1e-4)
        for behind in seen[1:3]:
            torch.testing.assert_close(behind[number, own], seen[-1][0, 20:], rtol=1e-4, atol=1e-4)
