"""A Hugging Face hub of our own on loopback, whose repositories are folders."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

COMMIT = "0" * 40


class FolderHub(BaseHTTPRequestHandler):
    """The requests of creating, committing to and downloading a model repository. There is one revision."""

    protocol_version = "HTTP/1.1"

    def __init__(self, root: Path, *arguments: Any) -> None:
        self.root = root
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines()]
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[1:] == ["repos", "create"]:
            name = f"{lines[0]['organization']}/{lines[0]['name']}"
            (self.root / name).mkdir(parents=True, exist_ok=True)
            self.reply({"url": f"{constants.ENDPOINT}/{name}"})
        elif parts[1:] == ["validate-yaml"]:
            self.reply({"errors": [], "warnings": []})
        elif parts[4] == "preupload":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in lines[0]["files"]
            ]
            self.reply({"files": files})
        elif parts[4] == "commit":
            for each in (line["value"] for line in lines if line["key"] == "file"):
                file = self.root / parts[2] / parts[3] / each["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(each["content"]))
            self.reply(
                {"commitUrl": f"{constants.ENDPOINT}/{parts[2]}/{parts[3]}/commit/{COMMIT}", "commitOid": COMMIT}
            )
        else:
            self.reply({"error": self.path}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        listing = parts[0] == "api"
        folder = self.root.joinpath(*(parts[2:4] if listing else parts[:2]))
        if not folder.is_dir():
            self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif not listing:
            self.send(folder.joinpath(*parts[4:]))
        elif parts[4:5] == ["tree"]:
            self.reply([_entry(path, folder) for path in sorted(folder.rglob("*"))])
        else:
            files = [{"rfilename": path.relative_to(folder).as_posix()} for path in folder.rglob("*") if path.is_file()]
            self.reply({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": files})

    def send(self, file: Path) -> None:
        if file.is_file():
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.answer(content, 200, headers)
        else:
            self.reply({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def reply(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT}
    content = path.read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def use_endpoint(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What the environment variable HF_ENDPOINT does when it is set before the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@contextmanager
def served(root: Path, monkeypatch: pytest.MonkeyPatch, handler: Any = FolderHub) -> Iterator[None]:
    """The hub of the folder `root` in place of the public one, with a cache of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, root))
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root / ".cache"))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
