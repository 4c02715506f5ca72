"""`ecgtune data get` against a server on this machine: whole, cut short, wrong, gone, and gone on with."""

import hashlib
import http.server
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecgtune.cli.main import main
from ecgtune.errors import DataError, SettingError
from ecgtune.io import download
from ecgtune.io.download import Fetched, get_database
from ecgtune.io.readers.registry import find_recordings, read_recording
from ecgtune.utils.files import file_mode
from helpers.recordings import digital, write_wfdb


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` of a path are used up one per request: a status, bytes to send, or "cut"."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list] = {}
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/db/1.0"

    def publish(self, folder: Path, *more: str) -> None:
        """Serve a folder and its checksums; `more`: further lines of these."""
        self.files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
        lines = [f"{hashlib.sha256(content).hexdigest()}  {path}" for path, content in self.files.items()]
        self.files[download.SUMS] = "\n".join([*lines, *more, ""]).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.removeprefix("/db/1.0/").replace("%20", " ")
        self.server.asked[path] += 1
        fault = self.server.faults[path].pop(0) if self.server.faults.get(path) else None
        content = self.server.files.get(path)
        if content is None or isinstance(fault, int):
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else fault or content)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A database of two records, and files that are not fetched."""
    home = tmp_path / "home"
    (home / "records500" / "00000").mkdir(parents=True)
    (home / "records100").mkdir()
    for name in ("r1", "r2"):
        write_wfdb(home / "records500" / "00000", digital(seed=int(name[1])), name=name)
    (home / "records100" / "r1.hea").write_text("x")
    (home / "all.zip").write_text("x")
    (home / "the table.csv").write_text("ecg_id\n1\n")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    server = Server()
    server.publish(home)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


R1 = "records500/00000/r1.dat"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def wanted(server: Server) -> set[str]:
    return {path for path in server.files if path != "all.zip" and not path.startswith("records100")}


def test_everything_comes_and_nothing_comes_twice(server, tmp_path):
    told: list[int] = []
    first = get_database("ptb-xl", tmp_path / "out", source=server.url, expect=told.append, done=told.append)
    assert first == Fetched(5, 0)
    assert told == [5, 1, 1, 1, 1, 1]
    assert names(tmp_path / "out") == wanted(server)
    for path in wanted(server):
        assert (tmp_path / "out" / path).read_bytes() == server.files[path]
        assert (tmp_path / "out" / path).stat().st_mode & 0o777 == file_mode()
    found = find_recordings(tmp_path / "out" / "records500")
    assert list(found) == ["00000/r1", "00000/r2"]
    assert read_recording(found["00000/r2"]).signal.shape == (3, 40)
    server.asked.clear()
    assert get_database("ptb-xl", tmp_path / "out", source=server.url + "/") == Fetched(0, 5)
    assert server.asked == {download.SUMS: 1}


def test_a_file_that_is_damaged_on_the_disk_is_fetched_again(server, tmp_path):
    get_database("ptb-xl", tmp_path / "out", source=server.url)
    (tmp_path / "out" / R1).write_bytes(server.files[R1][:-1])
    assert get_database("ptb-xl", tmp_path / "out", source=server.url) == Fetched(1, 4)
    assert (tmp_path / "out" / R1).read_bytes() == server.files[R1]


@pytest.mark.parametrize("fault", ["cut", b"x" * 240, 503], ids=["cut", "wrong", "busy"])
def test_what_goes_wrong_twice_is_tried_again(server, tmp_path, fault):
    server.faults[R1] = [fault] * 2
    assert get_database("ptb-xl", tmp_path / "out", source=server.url) == Fetched(5, 0)
    assert server.asked[R1] == 3
    assert (tmp_path / "out" / R1).read_bytes() == server.files[R1]


@pytest.mark.parametrize(
    ("fault", "part"),
    [("cut", "3 attempts"), (b"x" * 240, "SHA256"), (503, "503"), (404, "is not there")],
    ids=["cut", "wrong", "busy", "gone"],
)
def test_what_stays_wrong_is_named_and_leaves_no_part(server, tmp_path, fault, part):
    server.faults[R1] = [fault] * 3
    with pytest.raises(DataError) as error:
        get_database("ptb-xl", tmp_path / "out", source=server.url)
    assert part in str(error.value)
    assert f"{server.url}/{R1}" in str(error.value)
    assert "rerun the same command to resume" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert names(tmp_path / "out") <= wanted(server) - {R1}
    server.asked.clear()
    server.faults.clear()
    assert get_database("ptb-xl", tmp_path / "out", source=server.url).fetched >= 1
    assert names(tmp_path / "out") == wanted(server)
    assert server.asked[R1] == 1


def test_an_interruption_leaves_whole_files_and_is_gone_on_with(server, tmp_path):
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_database("ptb-xl", tmp_path / "out", source=server.url, done=stop)
    there = names(tmp_path / "out")
    assert there < wanted(server)
    for path in there:
        assert (tmp_path / "out" / path).read_bytes() == server.files[path]
    fetched = get_database("ptb-xl", tmp_path / "out", source=server.url)
    assert fetched.kept == len(there - {download.SUMS}) >= 1
    assert names(tmp_path / "out") == wanted(server)


@pytest.mark.parametrize("path", ["../evil.txt", "/etc/evil", "a/../../evil", "..\\evil", "C:evil", "."])
def test_a_path_that_leads_out_of_the_folder(server, tmp_path, path):
    server.publish(tmp_path / "home", f"{'0' * 64}  {path}")
    with pytest.raises(DataError, match="leads out of the folder"):
        get_database("ptb-xl", tmp_path / "out", source=server.url)
    assert names(tmp_path / "out") == {download.SUMS}


def test_what_is_no_database(server, tmp_path):
    with pytest.raises(DataError, match=r"SHA256SUMS\.txt: is not there.*--from"):
        get_database("mitdb", tmp_path / "out", source=server.url + "/elsewhere")
    server.files[download.SUMS] = b"<html>hello</html>\n"
    with pytest.raises(DataError, match="line 1 of SHA256SUMS"):
        get_database("mitdb", tmp_path / "out", source=server.url)
    server.files[download.SUMS] = b"\n"
    with pytest.raises(DataError, match="names no file of mitdb"):
        get_database("mitdb", tmp_path / "out", source=server.url)
    with pytest.raises(SettingError, match="ptb-xl, cinc2017, mitdb"):
        get_database("nothing", tmp_path / "out")
    with pytest.raises(SettingError, match="is no URL"):
        get_database("mitdb", tmp_path / "out", source="ftp://host")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        get_database("mitdb", tmp_path / "file", source=server.url)


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    with pytest.raises(DataError, match="3 attempts"):
        get_database("mitdb", tmp_path / "out", source="http://127.0.0.1:9")
    assert names(tmp_path / "out") == set()


def test_the_command(server, tmp_path, capsys):
    command = ["data", "get", "ptb-xl", "--out", str(tmp_path / "out"), "--from", server.url, "--quiet"]
    main(command)
    assert capsys.readouterr().out == f"ptb-xl: 5 files fetched, 0 were there: {tmp_path / 'out'}\n"
    server.files.clear()
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: http://127.0.0.1")


def test_every_database_has_a_home_with_a_version():
    for database in download.DATABASES.values():
        name, version = database.folder.split("/")
        assert name
        assert version.replace(".", "").isdecimal()
