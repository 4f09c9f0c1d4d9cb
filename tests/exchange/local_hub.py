"""A hub on this machine: the few endpoints that uploading and downloading a file take, over HTTP."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

TOKEN = "hf_" + "secret" * 5


@dataclass
class LocalHub:
    """What the server holds.

    Args:
        url: where it answers.
        files: by repository, revision and path.
        private: repositories that only the token may see.
        requests: method and path of everything asked, in order.
    """

    url: str = ""
    files: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Send all that `steersman.exchange.hub` asks for to a server, with a cache of its own and no stored token."""
    resolve = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
    # Before version 1 the library kept a second name for it.
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", resolve, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Run a hub on a free port of this machine until the body ends."""
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def json(self, content: object, status: int = 200) -> None:
            self.answer(status, json.dumps(content).encode(), Content_Type="application/json")

        @property
        def known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            owner, _, rest = self.path.lstrip("/").partition("/resolve/")
            revision, _, path = rest.partition("/")
            if owner not in hub.files or (hub.private[owner] and not self.known):
                return self.answer(401, X_Error_Code="RepoNotFound")
            if revision not in hub.files[owner]:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            content = hub.files[owner][revision].get(path)
            if content is None:
                return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit(owner, revision))
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, content, ETag=etag, X_Repo_Commit=commit(owner, revision))

        def do_POST(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.known:
                return self.json({"error": "Invalid username or password."}, 401)
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                if name in hub.files:
                    return self.json({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
                # The word for it changed with version 2 of the library.
                hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
                hub.files[name] = {"main": {}}
                return self.json({"url": f"{hub.url}/{name}", "id": name})
            if self.path == "/api/validate-yaml":
                return self.json({"errors": [], "warnings": []})
            _, _, name = self.path.partition("/api/models/")
            if "/preupload/" in name:
                names = [entry["path"] for entry in json.loads(body)["files"]]
                plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                return self.json({"files": [{"path": path, **plain} for path in names]})
            name = name.partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[name]["main"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            made = commit(name, "main")
            hub.files[name][made] = dict(hub.files[name]["main"])
            return self.json({"success": True, "commitOid": made, "commitUrl": f"{hub.url}/{name}/commit/{made}"})

    def commit(name: str, revision: str) -> str:
        held = hub.files[name][revision]
        words = "".join(f"{path}{hashlib.sha1(content).hexdigest()}" for path, content in sorted(held.items()))
        return hashlib.sha1(words.encode()).hexdigest()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
