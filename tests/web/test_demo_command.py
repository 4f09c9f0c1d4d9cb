"""`steersman demo`: opens on this machine, and says in a sentence what keeps it from doing so."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from steersman.cli.app import run
from tiny import tiny_network, tokenizer

COMMAND = [sys.executable, "-c", "from steersman.cli import main; main()", "demo"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_network("llama").save_pretrained(folder)
    tokenizer(chat=True).save_pretrained(folder)
    return folder


def test_a_folder_of_runs_that_is_none_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["demo", "--runs", str(tmp_path / "missing"), "--no-open"]) == 2
    assert "expected a folder of runs for --runs" in capsys.readouterr().err


def test_a_direction_that_is_none_is_said(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    code = run(["demo", "--model", str(model), "--direction", str(tmp_path / "x.safetensors"), "--no-open"])
    assert code == 2
    assert "x.safetensors" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(model: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--model", str(model), "--port", str(port), "--no-open"],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"--port {port}" in done.stderr


def test_it_opens_serves_reports_and_ends_with_ctrl_c(model: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "report.html").write_text("<h1>found</h1>")
    command = [*COMMAND, "--model", str(model), "--port", "0", "--no-open"]
    with subprocess.Popen(
        [*command, "--runs", "runs"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            address = running.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}/reports/a/report.html", timeout=30) as answer:
                assert answer.read() == b"<h1>found</h1>"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}/reports/a/../../pyproject.toml", timeout=30)
            begun = time.monotonic()
            running.send_signal(signal.SIGINT)
            running.wait(30)
            assert time.monotonic() - begun < 15
        finally:
            running.kill()
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()
