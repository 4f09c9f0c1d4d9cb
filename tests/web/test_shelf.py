"""What can be steered with: where it acts, how far its slider goes, what files give, what is refused."""

from pathlib import Path

import pytest

from steersman.errors import FileError, InputError, MismatchError
from steersman.files import save_direction, save_plan
from steersman.gates import Gate
from steersman.model.loaded import Model
from steersman.plan import Plan
from steersman.range import Range
from steersman.web.shelf import (
    LONGEST,
    Entry,
    Setting,
    fitting,
    from_file,
    from_hub,
    home,
    named,
    placed,
    plan_of,
    setting_of,
    shelved,
    slider_of,
)
from steersman.where import Site
from tiny import direction


def norm(layer: int) -> float:
    return 10.0 + layer


def ranged(**more: float | str) -> Entry:
    found = Range(Site(2), 1, tried=0.8, recommended=0.3, alarm=0.6, **more)  # type: ignore[arg-type]
    return Entry("made", "up / down", direction(1, [0, 2, 3]).with_ranges(found))


def test_home_is_where_something_was_recommended_else_nearest_the_middle() -> None:
    entry = ranged()
    assert entry.direction is not None
    assert home(entry.direction) == Site(2)
    assert home(direction(1, [0, 3])) == Site(3)


def test_a_layer_that_is_held_is_taken_and_another_is_moved_to() -> None:
    held = direction(1, [0, 2])
    assert placed(held, 0, norm).sites == [Site(0)]
    assert placed(held, 0, norm).vectors[Site(0)].equal(held.vectors[Site(0)])
    moved = placed(held, 1, norm)
    assert moved.sites == [Site(1)]
    assert moved.norms[Site(1)] == 11.0
    assert moved.vectors[Site(1)].equal(held.vectors[home(held)])


def test_a_slider_goes_as_far_as_was_found_there_and_the_usual_way_elsewhere() -> None:
    entry = ranged()
    slider = slider_of(entry, Setting(), norm)
    assert (slider.high, slider.start) == (0.6, 0.3)
    elsewhere = slider_of(entry, Setting(layer=1), norm)
    assert (elsewhere.low, elsewhere.high, elsewhere.start) == (-0.5, 0.5, 0.0)
    assert not slider_of(entry, Setting(span="generated"), norm).known


def test_the_span_that_a_range_was_found_for_is_the_usual_one() -> None:
    assert setting_of(ranged(span="generated")) == Setting(span="generated")
    assert setting_of(ranged()) == Setting()
    assert setting_of(Entry("plain", "", direction())) == Setting()


def test_a_plan_of_an_entry_is_the_library_s_own() -> None:
    held = direction(1, [2])
    gate = Gate(Site(1), held.vectors[Site(2)], 0.5)
    found = plan_of(Entry("a", "", held), Setting(span="generated"), -0.2, norm, gate)
    assert found == Plan(held, span="generated", coefficient=-0.2, gate=gate)
    assert not plan_of(Entry("a", "", held), Setting(), 0.0, norm)
    whole = Plan(held, coefficient=0.4)
    assert plan_of(Entry("b", "", whole), Setting(), 1.5, norm) == whole.scaled(1.5)
    assert slider_of(Entry("b", "", whole), Setting(), norm).high == 2.0


def test_files_of_both_kinds_are_read_under_their_names(tmp_path: Path) -> None:
    held = direction(1, [2])
    save_direction(held, tmp_path / "warm.safetensors")
    save_plan(Plan(held, coefficient=0.3), tmp_path / "cold.safetensors")
    first, second = from_file(tmp_path / "warm.safetensors"), from_file(tmp_path / "cold.safetensors")
    assert first.name == "warm"
    assert first.direction is not None
    assert second.direction is None
    assert second.held == Plan(held, coefficient=0.3)


@pytest.mark.parametrize("content", [b"", b"not a file of ours", b"\x00" * 64])
def test_other_files_are_refused_without_a_folder_s_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"some\.safetensors") as caught:
        from_file(path)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(FileError, match="direction or plan"):
        from_file(tmp_path / "x.pt")


def test_no_address_is_asked_for() -> None:
    with pytest.raises(InputError, match="owner/name"):
        from_hub("  ")
    with pytest.raises(InputError, match="owner/name"):
        from_hub("../../etc/passwd")


@pytest.mark.parametrize(
    ("text", "name"),
    [("cheerful", "cheerful"), ("../a/b", "a b"), ("<b>x</b>", "b x b"), ("x" * 99, "x" * LONGEST)],
)
def test_names_fit_on_a_slider_and_in_a_file_name(text: str, name: str) -> None:
    assert named(text) == name


def test_a_name_of_signs_alone_is_refused() -> None:
    with pytest.raises(InputError, match="letter or digit"):
        named("///...")


def test_a_shelf_gives_every_entry_a_name_of_its_own_and_is_full_at_some_point() -> None:
    shelf: list[Entry] = []
    names = [shelved(shelf, Entry("a", "", direction()), 3).name for _ in range(3)]
    assert names == ["a", "a 2", "a 3"]
    with pytest.raises(InputError, match="at most 3"):
        shelved(shelf, Entry("b", "", direction()), 3)


def test_what_was_made_for_another_model_is_refused(llama: Model) -> None:
    assert fitting(Entry("a", "", direction()), llama).name == "a"
    with pytest.raises(MismatchError, match="width"):
        fitting(Entry("a", "", direction(width=16)), llama)
