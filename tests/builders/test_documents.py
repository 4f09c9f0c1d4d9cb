"""Documents: dealt out by the names of their files, cut between lines, no text twice."""

from collections import Counter

import pytest

from steersman.builders.documents import (
    SHARES,
    SHORTEST,
    Document,
    built_in_documents,
    drawn,
    file_documents,
    pieces,
    split_of,
)
from steersman.errors import DataError, InputError

SPLITS = tuple(SHARES)


def made_up(count: int, texts: int = 3, stem: str = "file") -> list[Document]:
    """Documents of unlike texts, each of lines that fill one piece of 40 characters."""
    return [
        Document(f"{stem}{i}.txt", lambda i=i: "\n".join(f"{stem} {i} part {j} ".ljust(39, "x") for j in range(texts)))
        for i in range(count)
    ]


def files(passages) -> set[str]:
    return {passage.id.partition("#")[0] for passage in passages}


def test_a_split_depends_on_the_name_alone_and_has_its_share():
    names = [f"folder/file{i}.py" for i in range(3000)]
    counts = Counter(split_of(name) for name in names)
    assert {split: count / 3000 for split, count in counts.items()} == pytest.approx(SHARES, abs=0.03)
    assert [split_of(name) for name in reversed(names)] == [split_of(name) for name in names][::-1]


def test_splits_are_of_different_files_and_no_text_comes_twice():
    documents = made_up(40)
    documents += [Document(f"copy/{each.name}", each.read) for each in documents]
    taken: set[str] = set()
    found = {split: drawn([documents], split, 500, characters=40, taken=taken) for split in SPLITS}
    texts = [passage.text for split in SPLITS for passage in found[split]]
    assert len(texts) == len(set(texts)) == 120
    named = [files(found[split]) for split in SPLITS]
    assert not named[0] & named[1] | named[0] & named[2] | named[1] & named[2]
    for split in SPLITS:
        assert {split_of(name) for name in files(found[split])} == {split}
    ids = [passage.id for split in SPLITS for passage in found[split]]
    assert len(set(ids)) == len(ids)


def test_every_file_gives_one_text_before_any_gives_two_and_only_what_is_needed_is_read():
    read: list[str] = []

    def reading(each: Document) -> Document:
        return Document(each.name, lambda: (read.append(each.name), each.read())[1])

    documents = [reading(each) for each in made_up(60)]
    here = sum(split_of(each.name) == "train" for each in documents)
    few = drawn([documents], "train", 10, characters=40)
    assert len(files(few)) == len(read) == 10
    every = drawn([documents], "train", here + 5, characters=40)
    assert len(files(every[:here])) == here
    assert every[:10] == few


def test_sources_of_a_mix_weigh_alike_for_as_long_as_they_last():
    mixed = drawn([made_up(40), made_up(400, stem="other")], "test", 20, characters=40)
    assert Counter(passage.text.split()[0] for passage in mixed) == {"file": 10, "other": 10}
    short = drawn([made_up(3, 1), made_up(400, stem="other")], "train", 60, characters=40)
    assert len(short) == 60


def test_another_seed_draws_other_texts():
    documents = made_up(60)
    first, second = (drawn([documents], "train", 8, characters=40, seed=seed) for seed in (0, 1))
    assert first != second
    assert first == drawn([list(reversed(documents))], "train", 8, characters=40, seed=0)


def test_pieces_are_cut_between_lines_hold_everything_and_are_no_longer_than_asked():
    text = "\n".join(f"    line {i} of some code()" for i in range(30)) + "\n" + "word " * 50 + "x" * 100
    found = pieces(text, 60)
    assert all(0 < len(each) <= 60 for each in found)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert found[0] == "    line 0 of some code()\n    line 1 of some code()"
    assert pieces("  \n \n", 10) == []


def test_short_texts_are_left_out():
    documents = [Document(f"{i}", lambda i=i: "x" * i) for i in range(1, 100)]
    texts = [each.text for split in SPLITS for each in drawn([documents], split, 200, characters=50)]
    assert min(map(len, texts)) == SHORTEST * 50


def test_files_are_named_within_their_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/one.txt", "two.txt", "three.md"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89\xff\xfe")
    assert [each.name for each in file_documents(tmp_path)] == ["a/one.txt", "image.png", "three.md", "two.txt"]
    assert [each.name for each in file_documents(str(tmp_path / "**/*.txt"))] == ["a/one.txt", "two.txt"]
    assert [each.name for each in file_documents(tmp_path / "two.txt")] == ["two.txt"]
    assert {each.name: each.read() for each in file_documents(tmp_path)}["image.png"] == ""
    with pytest.raises(DataError, match="expected a file, a folder or a pattern"):
        file_documents(tmp_path / "nowhere")
    with pytest.raises(InputError, match="at least 1 text of at least 1 character"):
        drawn([made_up(3)], "train", 0, characters=40)


@pytest.mark.parametrize("name", ["python", "english", "cpp"])
def test_built_in_corpora_are_there_and_are_what_they_say(name):
    documents = built_in_documents(name)
    assert len(documents) > 300
    texts = [passage.text for passage in drawn([documents], "test", 12, characters=200)]
    assert len(set(texts)) == 12
    text = "\n".join(texts)
    assert '"""' not in text
    if name == "english":
        assert sum(each.isalpha() or each.isspace() for each in text) > 0.9 * len(text)
        assert "def " not in text
    else:
        assert "/*" not in text
        assert sum(text.count(mark) for mark in "(){}[]=;:") > 0.04 * len(text)
