"""Downloading by name, against a server of our own on loopback."""

import functools
import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from ecgtune.errors import CheckpointError
from ecgtune.models.hub import download
from ecgtune.models.loading import load_model
from ecgtune.models.registry import find_model

COMMIT = "0" * 40
REPOSITORY = "wanglab/ecg-fm"
PRETRAINED, FINETUNED = "mimic_iv_ecg_physionet_pretrained.pt", "mimic_iv_ecg_finetuned.pt"
NOBODY = "http://127.0.0.1:9"  # nobody listens there


class HubHandler(BaseHTTPRequestHandler):
    """The two requests of a download: HEAD and GET of /<repository>/resolve/main/<file>."""

    def __init__(self, files: dict[str, bytes], *arguments: object) -> None:
        self.files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        content = self.files.get(self.path.removeprefix(f"/{REPOSITORY}/resolve/main/"))
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


def use_endpoint(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What the environment variable HF_ENDPOINT does when it is set before the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(
    official_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, bytes]]:
    files = {
        PRETRAINED: official_file("pretrained", "old").read_bytes(),
        FINETUNED: official_file("finetuned").read_bytes(),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(HubHandler, files))
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield files
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ecg-fm", PRETRAINED),
        ("wanglab/ecg-fm", PRETRAINED),
        ("wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt", FINETUNED),
    ],
)
def test_a_name_downloads_its_file(hub: dict[str, bytes], name: str, file: str) -> None:
    model = load_model(name)
    assert model.weights.sha256 == hashlib.sha256(hub[file]).hexdigest()
    assert model.name == model.weights.source == name


def test_the_second_use_needs_no_network(hub: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_model("ecg-fm")
    use_endpoint(monkeypatch, NOBODY)
    assert load_model("ecg-fm").weights == first.weights


def test_an_unknown_file_names_the_known_ones(hub: dict[str, bytes]) -> None:
    with pytest.raises(CheckpointError, match=r"no file 'tiny\.pt'; known: .*pretrained\.pt") as caught:
        load_model("wanglab/ecg-fm/tiny.pt")
    assert "\n" not in str(caught.value)


def test_without_network_the_error_says_what_to_do(hub: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(monkeypatch, NOBODY)
    with pytest.raises(CheckpointError, match=r"could not be downloaded .* give its path") as caught:
        load_model("ecg-fm")
    assert "\n" not in str(caught.value)


def test_a_downloaded_file_is_given_by_its_path(hub: dict[str, bytes]) -> None:
    assert download(REPOSITORY, FINETUNED, (FINETUNED,)).read_bytes() == hub[FINETUNED]


@pytest.mark.parametrize("name", ["models/ecg-fm.pt", "wanglab", "wanglab/ecg-fm-2"])
def test_other_names_are_no_hub_names(name: str) -> None:
    assert find_model(name) is None
