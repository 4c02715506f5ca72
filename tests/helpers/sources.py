"""Files of Python code that a test imports, edits and imports again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Import = Callable[[str, str], ModuleType]


@pytest.fixture
def import_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of this name and content, and imports it as a new process would."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()
    written = set()

    def write(name: str, text: str) -> ModuleType:
        (tmp_path / "code" / f"{name}.py").write_text(text)
        written.add(name)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)
