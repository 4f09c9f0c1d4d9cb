"""The picture of a direction: it is written whole, has its panels, and the panels show the figures."""

import re
from dataclasses import replace

import matplotlib.image
import pytest
import torch
from matplotlib.figure import Figure

from steersman.direction import Direction
from steersman.errors import FileError, InputError, MismatchError
from steersman.inspection import compare, inspect_direction, layer_cosines
from steersman.report.direction_plot import direction_chart, plot_directions
from steersman.report.figures import Chart
from steersman.where import Site
from tiny import direction, origin

FIGURES = ("separation", "split_half_cosine", "vote_share")


def measured(seed: int = 1, layers=(0, 1, 2, 3)) -> Direction:
    held = direction(seed, layers)
    return replace(held, diagnostics={name: {site: 0.9 - 0.1 * site.layer for site in held.sites} for name in FIGURES})


def drawn(chart: Chart) -> dict[str, tuple[Figure, object]]:
    """Draw every panel on axes of its own."""
    found = {}
    for panel in chart.panels:
        figure = Figure(figsize=(panel.width, panel.height))
        axes = figure.add_axes((0.2, 0.2, 0.7, 0.6))
        axes.set_title(panel.title, loc="left")
        panel.draw(axes)
        figure.canvas.draw()
        found[panel.name] = axes
    return found


def test_one_direction_has_four_panels_with_units():
    panels = drawn(direction_chart({"refusal": measured()}))
    assert list(panels) == ["norms", "stability", "massive", "cosines"]
    assert [axes.get_ylabel() for axes in panels.values()] == [
        *("L2 norm (activation units)", "share or cosine (1 is best)", "share of |v|² (%)", "layer")
    ]
    assert {axes.get_xlabel() for axes in panels.values()} == {"layer (0-based decoder block)", "layer"}
    assert panels["norms"].get_yscale() == "log"
    assert [line.get_label() for line in panels["stability"].get_lines()] == [
        *("separation (AUROC)", "split-half cosine", "vote share")
    ]


def test_the_lines_are_the_figures():
    held = measured()
    rows = inspect_direction(held).sites
    panels = drawn(direction_chart({"refusal": held}))
    residual, vector = panels["norms"].get_lines()
    assert list(residual.get_xdata()) == list(vector.get_xdata()) == [0, 1, 2, 3]
    assert list(residual.get_ydata()) == [row.residual_norm for row in rows]
    assert list(vector.get_ydata()) == [row.vector_norm for row in rows]
    share, line = panels["massive"].get_lines()
    assert list(share.get_ydata()) == [100 * row.massive_share for row in rows]
    assert set(line.get_ydata()) == {20.0}
    low, high = panels["massive"].get_ylim()
    assert low == 0
    assert high > max(20, *share.get_ydata())
    (image,) = panels["cosines"].get_images()
    assert torch.allclose(torch.tensor(image.get_array()).float(), torch.tensor(layer_cosines(held).values))
    assert image.get_clim() == (-1, 1)


def test_what_is_not_known_is_left_out():
    assert [panel.name for panel in direction_chart({"d": direction(1, [0, 2])}).panels] == [
        *("norms", "massive", "cosines")
    ]
    single = direction_chart({"d": measured(layers=[2])})
    assert [panel.name for panel in single.panels] == ["norms", "stability", "massive"]
    assert [tick for tick in drawn(single)["norms"].get_xticks() if 1.2 <= tick <= 2.8] == [2]


def test_several_directions_stand_beside_each_other_with_their_cosines():
    held = {"refusal": measured(1), "honesty": measured(2), "plain": direction(3, [0, 1, 2])}
    chart = direction_chart(held)
    panels = drawn(chart)
    assert list(panels) == ["norms", "stability", "massive", "cosines"]
    # 40 % of 4 layers is 1.6.
    assert chart.panels[-1].title == "Cosine between directions, resid_post.2"
    (image,) = panels["cosines"].get_images()
    assert torch.allclose(torch.tensor(image.get_array()).float(), torch.tensor(compare(held).by_site[Site(2)].values))
    norms, separation = panels["norms"].get_lines(), panels["stability"].get_lines()
    assert [line.get_label() for line in norms] == list(held)
    # The one without figures is missing; the others keep their colours.
    assert [line.get_label() for line in separation] == ["refusal", "honesty"]
    assert [line.get_color() for line in separation] == [line.get_color() for line in norms[:2]]


def test_a_direction_of_heads_and_one_of_many_points_are_drawn():
    heads = [Site(layer, "head", head) for layer in range(2) for head in range(3)]
    narrow = Direction({site: torch.randn(8) for site in heads}, dict.fromkeys(heads, 1.0), origin(), "made up")
    panels = drawn(direction_chart({"heads": narrow}))
    assert list(panels) == ["norms", "massive"]
    assert panels["norms"].get_lines()[0].get_linestyle() == "None"
    mixed = direction(1, [1]).everywhere(["attn_out", "resid_post"])
    assert list(drawn(direction_chart({"mixed": mixed}))["norms"].get_lines()[0].get_xdata()) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 2])
def test_the_picture_is_written_and_says_the_same_twice(tmp_path, count):
    held = {f"direction {index}": measured(index) for index in range(count)}
    png = plot_directions(held, tmp_path / "deep" / "one.png")
    pixels = matplotlib.image.imread(png)
    assert pixels.shape[0] > 600
    assert pixels.shape[1] > 1000
    assert pixels.std() > 0.05  # not a white page
    assert plot_directions(held, tmp_path / "two.png").read_bytes() == png.read_bytes()
    svg = plot_directions(held, tmp_path / "one.svg").read_text()
    assert len(re.findall(r'<g id="axes_\d+">', svg)) == 5  # four panels and the bar of colours
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "one.svg", "two.png"]
    assert [path.name for path in png.parent.iterdir()] == ["one.png"]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"expected a picture's name ending in \.png or \.svg, got 'one\.pdf'"):
        plot_directions({"d": direction()}, tmp_path / "one.pdf")
    with pytest.raises(InputError, match="expected at least one direction to draw, got none"):
        plot_directions({}, tmp_path / "one.png")
    with pytest.raises(InputError, match="expected a site that all of a, b hold"):
        plot_directions({"a": direction(1, [0]), "b": direction(1, [1])}, tmp_path / "one.png")
    with pytest.raises(MismatchError, match="compare directions of one model"):
        plot_directions({"a": direction(1, [0]), "b": direction(1, [0], width=64)}, tmp_path / "one.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "one.png").write_bytes(b"mine")
    with pytest.raises(FileError, match=r"one\.png exists already; give another name, or --force"):
        plot_directions({"d": direction()}, tmp_path / "one.png", force=False)
    assert (tmp_path / "one.png").read_bytes() == b"mine"
