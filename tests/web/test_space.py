"""The Hugging Face Space's files: started as a Space starts them, and its header as the hub reads it."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

gradio = pytest.importorskip("gradio")

from tiny import tiny_network, tokenizer  # noqa: E402

SPACE = Path(__file__).parents[2] / "spaces" / "demo"


def test_the_header_says_what_the_hub_needs() -> None:
    header = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert (header["sdk"], header["app_file"]) == ("gradio", "app.py")
    assert (SPACE / header["app_file"]).is_file()
    assert header["sdk_version"].split(".")[0] == gradio.__version__.split(".")[0]
    assert len(header["short_description"]) <= 60
    assert "steersman[demo]" in (SPACE / "requirements.txt").read_text()


def test_it_starts_and_gives_its_page(tmp_path: Path) -> None:
    tiny_network("llama").save_pretrained(tmp_path / "model")
    tokenizer(chat=True).save_pretrained(tmp_path / "model")
    more = {"STEERSMAN_MODEL": str(tmp_path / "model"), "GRADIO_SERVER_PORT": "0", "HF_HUB_OFFLINE": "1"}
    env = {name: value for name, value in os.environ.items() if name != "GRADIO_SERVER_NAME"} | more
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=SPACE, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            assert running.stdout is not None
            address = _address(running)
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
                assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
                assert b"steersman" in answer.read()
        finally:
            running.terminate()
            running.wait(30)


def _address(running: "subprocess.Popen[str]") -> str:
    said: list[str] = []
    limit = time.monotonic() + 120
    assert running.stdout is not None
    for line in running.stdout:
        said.append(line)
        if line.startswith("http"):
            return line.strip()
        if time.monotonic() > limit:
            break
    raise AssertionError("".join(said)[-2000:])
