"""What transformers misses in a GGUF file is put right, and its loading is silent."""

import json
import threading
import warnings
from types import SimpleNamespace

import pytest
import tiny_gguf
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import AutoTokenizer, modeling_gguf_pytorch_utils
from transformers.utils import logging as transformers_logging

from steersman.model import conversion


@pytest.mark.parametrize(
    "rope",
    [{"rope_theta": 100000.0, "rope_scaling": None}, {"rope_parameters": {"rope_theta": 100000.0}}],
    ids=["transformers 4.57", "transformers 5"],
)
def test_the_config_says_the_rotary_base_in_both_dialects(tmp_path, rope):
    written = {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "_model_name_or_path": "x",
        "transformers_version": "5",
    }
    written |= {"torch_dtype": "float32"}
    conversion._write_config(SimpleNamespace(to_diff_dict=lambda: written | rope), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == 100000.0
    assert config["rope_parameters"] == {"rope_theta": 100000.0, "rope_type": "default"}
    assert config["tie_word_embeddings"] is True
    assert not {
        "_model_name_or_path",
        "torch_dtype",
        "rope_scaling",
        "quantization_config",
        "transformers_version",
    } & set(config)
    generation = json.loads((tmp_path / "generation_config.json").read_text(encoding="utf-8"))
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


@pytest.mark.parametrize("hub_silent", [False, True])
@pytest.mark.parametrize("bars", [False, True])
def test_silence_ends_with_every_setting_as_it_was(monkeypatch, hub_silent, bars):
    def settings():
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
            modeling_gguf_pytorch_utils.tqdm,
            list(warnings.filters),
        )

    def loudly_then_fail():
        with conversion.quiet():
            assert transformers_logging.get_verbosity() == transformers_logging.ERROR
            assert not transformers_logging.is_progress_bar_enabled()
            assert modeling_gguf_pytorch_utils.tqdm([1], desc="bar") == [1]
            warnings.warn("not heard", UserWarning, stacklevel=1)
            raise LookupError

    monkeypatch.setattr(transformers_logging, "_tqdm_active", bars)
    was_silent = are_progress_bars_disabled()
    (disable_progress_bars if hub_silent else enable_progress_bars)()
    try:
        before = settings()
        with pytest.raises(LookupError):
            loudly_then_fail()
        assert settings() == before
    finally:
        (disable_progress_bars if was_silent else enable_progress_bars)()


def test_silence_is_for_one_thread_at_a_time():
    order: list[str] = []
    inside = threading.Event()

    def wait_my_turn():
        inside.wait(10)
        with conversion.quiet():
            order.append("second")

    other = threading.Thread(target=wait_my_turn)
    other.start()
    with conversion.quiet(), conversion.quiet():
        inside.set()
        other.join(0.05)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("pre", "apart"),
    [("smollm", True), ("starcoder", True), ("gpt-2", False), ("llama-bpe", False), ("never-heard-of", False)],
)
def test_digits_stand_apart_for_the_vocabularies_known_to_be_so_and_no_other(tmp_path, pre, apart):
    file = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_gguf.network(), pre)
    with conversion.quiet():
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name, local_files_only=True)
    before = tokenizer.tokenize("x  12")
    conversion.set_digits_apart(tokenizer, file)
    # Where the digits are one piece, the second space belongs to it and cannot join the first.
    assert tokenizer.tokenize("x  12") == (["x", "ĠĠ", "1", "2"] if apart else before)
    if pre == "never-heard-of":
        assert before == ["x", "Ġ", "Ġ", "1", "2"]
