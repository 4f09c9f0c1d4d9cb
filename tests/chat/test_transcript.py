"""Transcripts of the chat: what comes back is what was there; anything else is refused and changes nothing."""

import json

import pytest

from steersman.chat import Session, transcript
from steersman.errors import FileError
from steersman.model.generate import Sampling
from steersman.model.live import Live
from steersman.ready import ready_of
from tiny import direction, tiny_model

KNOWN = {"sunny": ready_of("sunny", direction(1, [1, 2]))}


@pytest.fixture(scope="module")
def live():
    with Live(tiny_model("llama", chat=True)) as found:
        yield found


@pytest.fixture
def session(live) -> Session:
    found = Session(live, KNOWN, Sampling(5, temperature=0.5, seed=3), "Be brief.")
    found.steering.steer("sunny", 0.25)
    found.steering.move("2")
    found.steering.spread("generated")
    for said in ("Hi", "Why?"):
        ticket, _ = found.ask(said)
        found.keep(said, ticket.result(60))
    return found


def test_a_transcript_goes_on_where_it_ended(session, live, tmp_path):
    path = transcript.save(session, tmp_path / "talk.json")
    other = Session(live, KNOWN)
    assert transcript.load(other, path) == []
    assert transcript.plain(other) == json.loads(path.read_text())
    assert other.steering.plan() == session.steering.plan()
    assert (other.system, other.sampling) == (session.system, session.sampling)
    answers = []
    for each in (session, other):
        ticket, _ = each.ask("Go on.")
        answers.append(ticket.result(60).text)
    assert answers[0] == answers[1]


def test_a_file_is_replaced_only_when_told(session, tmp_path):
    path = tmp_path / "talk.json"
    path.write_text("mine")
    with pytest.raises(FileError, match=r"exists already; give another name, or /save .* --force"):
        transcript.save(session, path)
    assert path.read_text() == "mine"
    transcript.save(session, path, force=True)
    assert json.loads(path.read_text())["turns"][1]["said"] == "Why?"


def test_what_steered_is_in_the_transcript(session, tmp_path):
    record = json.loads(transcript.save(session, tmp_path / "talk.json").read_text())
    (steering,) = record["turns"][0]["steering"]
    assert (steering["name"], steering["coefficient"], steering["site"]) == ("sunny", 0.25, "resid_post.2")
    (step,) = record["turns"][0]["steps"]
    assert (step["edit"], step["span"], step["unit"]) == ("add", "generated", "norm")
    assert (record["model"], record["revision"]) == ("tiny-llama", "0" * 64)


def test_a_direction_that_is_not_at_hand_or_another_one_is_said(session, live, tmp_path):
    path = transcript.save(session, tmp_path / "talk.json")
    (remark,) = transcript.load(Session(live, {}), path)
    assert remark == "the direction 'sunny' is not at hand: nothing steers in its place"
    (remark,) = transcript.load(Session(live, {"sunny": ready_of("sunny", direction(9, [1, 2]))}), path)
    assert remark == "the direction 'sunny' at hand is another one than the transcript's"


def test_other_weights_are_said(session, live, tmp_path):
    path = transcript.save(session, tmp_path / "talk.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"revision": "f" * 64, "model": "elsewhere"}))
    (remark,) = transcript.load(Session(live, KNOWN), path)
    assert "with 'elsewhere', other weights" in remark


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "other"}, "expected a transcript as /save writes it"),
        ({"format": 2}, "expected a transcript of format 1, got 2"),
        ({"turns": "none"}, "expected a transcript"),
        ({"turns": [1]}, "expected a transcript"),
        ({"turns": [{"said": "x"}]}, "expected a transcript"),
        ({"sampling": {"max_new_tokens": 0}}, "max_new_tokens of at least 1"),
        ({"sampling": {"max_new_tokens": 5000}}, "expected answers shorter than"),
        ({"sampling": {"surprise": 1}}, "expected a transcript"),
        ({"sampling": {"max_new_tokens": "six"}}, "expected a transcript"),
        ({"span": "nowhere"}, "expected a span among"),
        ({"system": 3}, "expected a transcript"),
        ({"steering": [{"name": "sunny"}]}, "expected a transcript"),
        ({"steering": [{"name": "sunny", "coefficient": 1e999, "site": "resid_post.2", "digest": ""}]}, "finite"),
        ({"steering": [{"name": "sunny", "coefficient": 1, "site": "resid_post.9", "digest": ""}]}, "expected a layer"),
    ],
)
def test_anything_else_is_refused_and_changes_nothing(session, tmp_path, change, sentence):
    path = transcript.save(session, tmp_path / "talk.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = transcript.plain(session)
    with pytest.raises(FileError, match=sentence):
        transcript.load(session, path)
    assert transcript.plain(session) == before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"[" * 100_000])
def test_what_is_no_transcript_at_all_is_refused(session, tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match="expected a transcript"):
        transcript.load(session, path)


def test_a_folder_is_refused(session, tmp_path):
    with pytest.raises(FileError):
        transcript.load(session, tmp_path)
    with pytest.raises(FileError):
        transcript.save(session, tmp_path, force=True)
