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
from tiny import WIDTH, direction, origin

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
        *("L2 norm (activation units)", "AUROC, cosine, share (1 is best)", "share of |v|² (%)", "layer")
    ]
    assert {axes.get_xlabel() for axes in panels.values()} == {"layer (0-based decoder block)", "layer"}
    assert panels["norms"].get_yscale() == "log"
    assert [line.get_label() for line in panels["stability"].get_lines()] == [
        *("AUROC, held out (cross-fitted)", "split-half cosine", "vote share (fitted texts)")
    ]


def test_the_lines_are_the_figures():
    held = measured()
    rows = inspect_direction(held).sites
    panels = drawn(direction_chart({"refusal": held}))
    residual, vector = panels["norms"].get_lines()
    assert list(residual.get_xdata()) == list(vector.get_xdata()) == [0, 1, 2, 3]
    assert list(residual.get_ydata()) == [row.residual_norm for row in rows]
    assert list(vector.get_ydata()) == [row.vector_norm for row in rows]
    (share,) = panels["massive"].get_lines()  # narrow vectors: no line of warning
    assert list(share.get_ydata()) == [100 * row.massive_share for row in rows]
    assert panels["massive"].get_ylim()[0] == 0
    (image,) = panels["cosines"].get_images()
    assert torch.allclose(torch.tensor(image.get_array()).float(), torch.tensor(layer_cosines(held).values))
    assert image.get_clim() == (-1, 1)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_wide_vectors_have_the_line_of_massive_activations_and_its_words_meet_no_point():
    held = direction(1, range(4), width=256)
    axes = drawn(direction_chart({"d": held}))["massive"]
    share, line = axes.get_lines()
    assert set(line.get_ydata()) == {20.0}
    (words,) = axes.texts
    assert words.get_text() == "above 20 % (dashed) the vector may follow\nmassive activations more than the concept"
    lowest = axes.transData.inverted().transform(words.get_window_extent())[0, 1]
    assert lowest > max(20, *share.get_ydata())


def test_what_is_not_known_is_left_out():
    assert [panel.name for panel in direction_chart({"d": direction(1, range(4))}).panels] == [
        *("norms", "massive", "cosines")
    ]
    assert [panel.name for panel in direction_chart({"d": direction(1, [2])}).panels] == ["norms"]


def test_ticks_stand_at_layers_that_are_there():
    panels = drawn(direction_chart({"d": measured(layers=(0, 2, 3, 1))}))
    assert list(panels["norms"].get_xticks()) == [0, 1, 2, 3]
    gaps = replace(measured(), origin=replace(origin(), depth=40))
    vectors = {Site(layer): torch.randn(WIDTH) for layer in (3, 9, 17, 38)}
    gaps = replace(gaps, vectors=vectors, norms=dict.fromkeys(vectors, 1.0), diagnostics={})
    assert list(drawn(direction_chart({"d": gaps}))["norms"].get_xticks()) == [3, 9, 17, 38]


def test_one_layer_or_a_few_are_bars_and_marks_with_their_numbers():
    held = measured(layers=[2])
    chart = direction_chart({"d": held})
    panels = drawn(chart)
    assert list(panels) == ["norms", "stability"]
    (row,) = inspect_direction(held).sites
    (bar,) = panels["norms"].patches
    assert bar.get_width() == pytest.approx(100 * row.ratio)
    assert texts(panels["norms"])[0].startswith("layer 2: ")
    assert texts(panels["stability"]) == [
        *("AUROC, held out (cross-fitted): 0.70", "split-half cosine: 0.70", "vote share (fitted texts): 0.70")
    ]
    assert "held out (cross-fitted): 0.70" in chart.panels[1].description
    few = drawn(direction_chart({"d": measured(layers=[0, 2])}))
    assert list(few) == ["norms", "stability", "cosines"]
    assert texts(few["stability"])[0] == "AUROC, held out (cross-fitted): 0.90, 0.70"
    assert [line.get_label() for line in few["stability"].get_lines()[:2]] == ["layer 0", "layer 2"]


def test_several_directions_of_one_layer_are_marks_at_that_layer():
    panels = drawn(direction_chart({"a": measured(1, [2]), "b": measured(2, [2, 3])}))
    assert list(panels) == ["norms", "stability", "cosines"]
    assert [text.split(":")[0] for text in texts(panels["norms"])] == ["a", "b"]
    assert texts(panels["stability"])[0] == "AUROC, held out (cross-fitted): 0.70, 0.70"


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
    assert panels["stability"].get_ylabel() == "AUROC, cross-fitted"


def heads_of(sites: list[Site]) -> Direction:
    vectors = {site: torch.randn(8, generator=torch.Generator().manual_seed(site.head)) for site in sites}
    figures = {site: (10 * site.layer + site.head) / 100 for site in sites[:-1]}
    return Direction(vectors, dict.fromkeys(sites, 2.0), origin(), "made up", {"separation": figures})


def test_heads_are_a_map_of_layers_by_heads_with_their_numbers():
    chart = direction_chart({"heads": heads_of([Site(layer, "head", head) for layer in (1, 3) for head in range(3)])})
    panels = drawn(chart)
    assert list(panels) == ["head_separation", "head_norms"]
    axes = panels["head_separation"]
    (image,) = axes.get_images()
    assert image.get_array()[:, :2].tolist() == [[0.10, 0.11], [0.30, 0.31]]
    assert image.get_array().mask.tolist() == [[False] * 3, [False, False, True]]  # not known of the last
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "3"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head (0-based)", "layer")
    assert texts(axes) == ["0.10", "0.11", "0.12", "0.30", "0.31"]
    assert chart.panels[0].description.endswith("from 0.1 to 0.31 at head.3.1.")
    assert "cross-fitted" in chart.panels[0].description


def test_a_few_heads_are_called_by_their_sites():
    panels = drawn(direction_chart({"heads": heads_of([Site(1, "head", 0), Site(3, "head", 2)])}))
    assert list(panels) == ["norms", "stability"]
    assert [text.split(":")[0] for text in texts(panels["norms"])] == ["head.1.0", "head.3.2"]
    assert panels["norms"].get_xlabel() == "vector norm (% of head's output norm)"
    assert texts(panels["stability"]) == ["AUROC, held out (cross-fitted): 0.10, –"]


def test_several_points_are_a_line_each():
    mixed = direction(1, [1]).everywhere(["attn_out", "resid_post"])
    chart = direction_chart({"mixed": mixed})
    lines = drawn(chart)["norms"].get_lines()
    assert [line.get_label() for line in lines] == ["attn_out", "resid_post"]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2, 3]] * 2
    assert chart.panels[-1].title == "Cosine between sites"
    few = drawn(direction_chart({"mixed": mixed.at(1, 2)}))
    assert [text.split(":")[0] for text in texts(few["norms"])] == [
        *("attn_out.1", "resid_post.1", "attn_out.2", "resid_post.2")
    ]


def test_heads_beside_the_stream_have_panels_of_their_own():
    stream, heads = measured(), heads_of([Site(1, "head", head) for head in range(4)])
    both = replace(stream, vectors=stream.vectors | heads.vectors, norms=stream.norms | heads.norms)
    assert list(drawn(direction_chart({"both": both}))) == ["norms", "stability", "massive", "cosines", "head_norms"]


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
