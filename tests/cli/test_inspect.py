"""The command inspect: it prints what the verbs return, and fits a terminal of 100 columns."""

import json
from dataclasses import replace

import pytest
import torch

from steersman.files import load_direction, save_direction
from steersman.inspection import compare, inspect_direction, lens_tokens
from steersman.model.load import load
from steersman.version import VERSION
from steersman.where import Site
from tiny import direction


@pytest.fixture
def files(tmp_path, folder):
    """Two measured directions of the model in the folder."""
    known = load_direction(folder / "direction.safetensors").origin
    paths = []
    for seed, name in ((1, "refusal"), (2, "honesty")):
        held = direction(seed, [0, 1, 3])
        figures = {"separation": dict.fromkeys(held.sites, 0.875), "vote_share": {Site(1): 0.75}}
        held = replace(held, origin=known, diagnostics=figures)
        paths.append(save_direction(held, tmp_path / f"{name}.safetensors", seed=seed))
    return paths


def test_help_shows_an_example_that_parses(steersman, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = steersman("inspect", "--help")
    assert (done.code, done.err) == (0, "")
    assert "Example: steersman inspect refusal.safetensors --plot refusal.png" in " ".join(done.out.split())
    done = steersman("inspect", "refusal.safetensors", "--plot", "refusal.png")
    assert done.code == 2
    assert done.err == "steersman: expected a direction file, got 'refusal.safetensors', which does not exist\n"
    assert list(tmp_path.iterdir()) == []


def test_json_holds_every_figure(steersman, files):
    done = steersman("inspect", *files, "--json")
    assert (done.code, done.err) == (0, "")
    printed = json.loads(done.out)
    directions = {path.stem: load_direction(path) for path in files}
    assert list(printed["directions"]) == printed["names"] == ["refusal", "honesty"]
    for name, held in directions.items():
        found, shown = inspect_direction(held), printed["directions"][name]
        assert shown["method"] == found.method
        assert shown["origin"]["span"] == "completion"
        assert shown["file"]["version"] == VERSION
        assert len(shown["file"]["sha256"]) == 64
        assert [row["site"] for row in shown["sites"]] == [str(site) for site in held.sites]
        for row, wanted in zip(shown["sites"], found.sites, strict=True):
            names = (
                "vector_norm",
                "residual_norm",
                "ratio",
                "separation",
                "vote_share",
                "massive_share",
                "next_cosine",
            )
            assert {key: row[key] for key in names} == {key: getattr(wanted, key) for key in names}
    assert printed["directions"]["refusal"]["file"]["seed"] == 1
    wanted = compare(directions).by_site
    assert printed["cosines"] == {str(site): [list(row) for row in square.values] for site, square in wanted.items()}


def test_tables_fit_the_terminal_and_say_where_it_comes_from(steersman, files):
    done = steersman("inspect", *files)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "…" not in done.out
    assert lines[0].startswith("refusal: made up, seed 1, n = 8, read over completion, seed 1, steersman ")
    row = next(line for line in lines if line.startswith("resid_post.1 ")).split()
    assert row[4:8] == ["0.875", "-", "0.750", "-"]
    assert "refusal / honesty" in done.out


def test_many_sites_are_compared_down_the_page(steersman, tmp_path):
    paths = [save_direction(direction(i, range(9), depth=9), tmp_path / f"d{i}.safetensors") for i in range(2)]
    done = steersman("inspect", *paths)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 100
    table = done.out[done.out.rindex("\nsite") :]
    assert [line.split()[0] for line in table.splitlines()[2:]] == [f"resid_post.{layer}" for layer in range(9)]


def test_massive_coordinates_are_warned_of_on_stderr(steersman, tmp_path):
    held = direction(1, [0, 2], width=256)
    peaked = held.vectors[Site(2)].clone()
    peaked[7] = 50.0
    path = save_direction(replace(held, vectors=held.vectors | {Site(2): peaked}), tmp_path / "peaked.safetensors")
    done = steersman("inspect", path)
    assert done.code == 0
    assert done.err.startswith("warning: peaked: ")
    assert "resid_post.2" in done.err
    assert json.loads(steersman("inspect", path, "--json").out)["directions"]["peaked"]["warning"] in done.err


def test_tokens_are_those_of_the_lens(steersman, files, folder):
    model: list[object] = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    done = steersman("inspect", files[0], *model, "--top", "3", "--layer", "0,3", "--json")
    assert done.code == 0
    loaded = load(str(folder / "model"), dtype="float32", device="cpu")
    wanted = lens_tokens(loaded, load_direction(files[0]), [Site(0), Site(3)], top=3)
    shown = json.loads(done.out)["directions"]["refusal"]["tokens"]
    assert shown == [{"site": str(w.site), "towards": list(w.towards), "away": list(w.away)} for w in wanted]
    text = steersman("inspect", files[0], *model, "--top", "3").out
    # Without --layer, the layer nearest to 40 % of the depth.
    assert "resid_post.1 writes " in text
    assert "resid_post.1 writes less " in text
    assert "resid_post.0 writes" not in text


def test_all_layers_are_those_that_it_holds_and_another_one_is_refused(steersman, files, folder):
    model: list[object] = ["--model", folder / "model", "--dtype", "float32", "--device", "cpu"]
    shown = json.loads(steersman("inspect", files[0], *model, "--layer", "all", "--json").out)["directions"]["refusal"]
    assert [each["site"] for each in shown["tokens"]] == ["resid_post.0", "resid_post.1", "resid_post.3"]
    done = steersman("inspect", files[0], *model, "--layer", "2")
    assert done.code == 2
    assert "expected a layer that the direction holds (0, 1, 3), got 2" in done.err


def test_the_picture_is_written_and_not_over_another(steersman, files, tmp_path):
    picture = tmp_path / "one.png"
    done = steersman("inspect", *files, "--plot", picture)
    assert (done.code, done.err) == (0, f"picture: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    done = steersman("inspect", files[0], "--plot", picture)
    assert done.code == 2
    assert "one.png exists already; give another name, or --force to replace it" in done.err
    assert picture.read_bytes() == before
    assert steersman("inspect", files[0], "--plot", picture, "--force").code == 0
    assert picture.read_bytes() != before


def test_bad_input_is_one_sentence(steersman, files, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(files[0].read_bytes()[:-3])
    other = save_direction(direction(1, [0], width=64), tmp_path / "other.safetensors")
    for arguments, words in [
        ([broken], "broken.safetensors: expected a safetensors file, got one that is damaged"),
        ([files[0], files[0]], "expected every file once, got one twice"),
        ([files[0], other], "compare directions of one model"),
        ([files[0], "--plot", tmp_path / "one.pdf"], "ending in .png or .svg"),
        ([files[0], "--model", tmp_path / "none"], "none"),
        ([], "Missing argument"),
        ([files[0], "--top", "0"], "--top"),
    ]:
        done = steersman("inspect", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
        assert len(done.err.splitlines()) == 1


def test_a_wide_file_name_and_odd_text_are_printed_as_they_are(steersman, tmp_path):
    held = replace(direction(1, [0]), method="[bold]made[/bold] up")
    held = replace(held, vectors={site: vector * torch.tensor(1e-20) for site, vector in held.vectors.items()})
    done = steersman("inspect", save_direction(held, tmp_path / "[red]x.safetensors"))
    assert done.code == 0
    assert done.out.startswith("[red]x: [bold]made[/bold] up, n = 8")
    assert "…" not in done.out
