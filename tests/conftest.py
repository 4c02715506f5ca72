"""What every test may use."""

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ecgtune.reporting import style

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import onnxruntime before ecgtune does
_SAVE = style._save
TESTS = Path(__file__).resolve().parent
SHARED = TESTS.parents[1] / "shared"
#: Files that take longest: two workers that began with short ones would not end together.
LONGEST = (
    "test_pages.py",
    "test_crash.py",
    "testing/test_conformance.py",
    "deployment/test_graph.py",
    "workflows/test_demo.py",
    "workflows/auto/test_auto.py",
    "training/test_loop.py",
    "pretraining/test_objectives.py",
    "workflows/test_sweep.py",
    "cli/test_main.py",
    "workflows/test_fine_tune.py",
    "workflows/test_pretrain.py",
    "workflows/test_plan.py",
    "workflows/test_compare.py",
    "test_studies.py",
)
#: Folders and files whose tests look at figures.
RENDERED = (
    "reporting/",
    "test_end_to_end.py",
    *(f"workflows/test_{name}.py" for name in ("calibrated_runs", "compare_encoders", "reports", "stress")),
)
#: Files whose tests look at cases.
WITH_CASES = (
    *("workflows/test_reports.py", "workflows/test_compare_encoders.py", "workflows/auto/test_auto.py"),
    "test_end_to_end.py",
)
_NUMBERS = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONGEST` first, in that order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(TESTS).as_posix(), len(LONGEST)))


@pytest.fixture(scope="module", autouse=True)
def _nothing_to_collect() -> None:
    """What the tests of other files left is collected."""
    gc.collect()


@pytest.fixture(autouse=True)
def _few_objects_to_collect(_nothing_to_collect: None) -> None:
    """Every training collects garbage first, which takes long among the objects of all imported libraries."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _figures_are_not_rendered(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures are painted but not rendered, which takes half the time of a small run, except in `RENDERED`."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.path.relative_to(TESTS).as_posix().startswith(RENDERED):
            empty = '<svg xmlns="http://www.w3.org/2000/svg"/>'
            patch.setattr(style, "_save", lambda figure, path, kind: path.write_text(empty))
        yield


@pytest.fixture(scope="module", autouse=True)
def _cases_are_not_drawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reports have no recordings, whose explanation takes as long as a small training, except in `WITH_CASES`."""
    from ecgtune.workflows import cases

    with pytest.MonkeyPatch.context() as patch:
        if not request.path.relative_to(TESTS).as_posix().startswith(WITH_CASES):
            patch.setattr(cases, "_write_pictures", lambda *_: None)
        yield


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are rendered in this test."""
    monkeypatch.setattr(style, "_save", _SAVE)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What fixtures of a module or the session compute once is kept in a folder of this session, not in the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(folder / "shared"))
        yield folder


@pytest.fixture(autouse=True)
def cache_folder(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test: with that of another test, it would pass where its own entry is wrong."""
    folder = own_cache / str(next(_NUMBERS))
    folder.mkdir()
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and reference numbers beside the checkout; tests that need it skip without it."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("the folder ../shared with real recordings and reference numbers is not here")
    return SHARED


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny encoder of `helpers.models`, to be named as a model; do not change it."""
    from ecgtune.models.checkpoint import save_encoder
    from helpers.models import tiny_classifier

    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(tiny_classifier().encoder, folder, {})
    return str(folder)


@pytest.fixture
def signal() -> np.ndarray:
    """Twelve windows of eight samples, exact as short text."""
    return np.random.default_rng(3).integers(-1000, 1000, (12, 8)).astype(np.float32) / 8


@pytest.fixture
def label() -> np.ndarray:
    return np.arange(12) % 2


@pytest.fixture
def csv_file(tmp_path: Path, signal: np.ndarray, label: np.ndarray) -> Callable[..., Path]:
    """A CSV file of the twelve windows: with or without header, other labels, further columns after the label."""

    def write(header: bool = True, label=label, name: str = "windows.csv", **columns) -> Path:
        names = [f"signal_{i}" for i in range(signal.shape[1])] + ["label", *columns]
        lines = [",".join(names)] if header else []
        for i, window in enumerate(signal):
            cells = [*(repr(float(v)) for v in window), str(label[i]), *(str(c[i]) for c in columns.values())]
            lines.append(",".join(cells))
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def npz_file(tmp_path: Path, signal: np.ndarray, label: np.ndarray) -> Callable[..., Path]:
    """An NPZ file of the twelve windows; a keyword replaces or adds an array, None leaves one out."""

    def write(**arrays) -> Path:
        content = {"signal": signal, "label": label, "sampling_rate": 100} | arrays
        path = tmp_path / "windows.npz"
        np.savez(path, **{key: value for key, value in content.items() if value is not None})
        return path

    return write
