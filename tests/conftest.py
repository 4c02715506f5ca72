"""What every test may use."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect() -> None:
    """Every training collects garbage first, which takes long among the objects of all imported libraries."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a module or the session compute once is kept in a folder of this session, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test: with that of another test, it would pass where its own entry is wrong."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and reference numbers beside the checkout; tests that need it skip without it."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("the folder ../shared with real recordings and reference numbers is not here")
    return SHARED


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
