"""The command: what it refuses before a model is loaded, and the whole of it in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from running import running

from steersman.cli.app import run
from steersman.errors import FileError, InputError, MismatchError
from steersman.files import save_direction
from steersman.serving import Server, Settings, Shelf, serve
from tiny import direction


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--directions", "/nowhere"], "a folder behind --directions"),
        (["--port", "99999"], "a port from 0 to 65535"),
        (["--most", "0"], "most of at least 1"),
        (["--queue", "-1"], "queue of at least 1"),
        (["--max-tokens", "0"], "max_tokens of at least 1"),
        (["--timeout", "nan"], "timeout above 0 s"),
    ],
)
def test_options_out_of_range(options, words, capsys):
    assert run(["serve", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_key_that_no_header_can_hold(capsys, monkeypatch):
    monkeypatch.setenv("STEERSMAN_API_KEY", "schlüssel")
    assert run(["serve"]) == 2
    assert "ASCII" in capsys.readouterr().err


def test_a_shelf_is_read_once_from_its_folder(chatty, tmp_path):
    save_direction(direction(1, [1]), tmp_path / "good.safetensors")
    assert list(Shelf.of_folder(tmp_path, chatty).directions) == ["good"]
    assert Shelf.of_folder(None, chatty).directions == {}
    with pytest.raises(FileError, match="folder of direction files"):
        Shelf.of_folder(tmp_path / "good.safetensors", chatty)
    save_direction(direction(1, [1], depth=9), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="the direction 'other': expected a direction of width 32 for 4 layers"):
        Shelf.of_folder(tmp_path, chatty)
    (tmp_path / "other.safetensors").write_bytes(b"no direction")
    with pytest.raises(FileError, match="other"):
        Shelf.of_folder(tmp_path, chatty)
    assert issubclass(MismatchError, InputError)


def test_a_port_that_is_taken(chatty, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(chatty, Shelf({}, chatty), Settings(port=taken.getsockname()[1]))
        with pytest.raises(InputError, match="another --port"):
            serve(server)
        assert not server.live._thread.is_alive()


def test_it_listens_to_this_machine_alone_unless_told(chatty):
    assert Settings().host == "127.0.0.1"
    with running(chatty) as server:
        assert server.address.startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_the_command_serves_the_default_model_and_ends_by_a_signal(tmp_path):
    command = [sys.executable, "-c", "from steersman.cli import main; main()", "serve", "--port", "0"]
    environment = os.environ | {"STEERSMAN_API_KEY": "key"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        assert process.stderr is not None
        said = ""
        while "http" not in said and process.poll() is None:
            said = process.stderr.readline()
        address = re.findall(r"http://[0-9.:]+", said)[0]
        asked = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        headers = {"authorization": "Bearer key"}
        answer = httpx.post(f"{address}/v1/chat/completions", json=asked, headers=headers, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
