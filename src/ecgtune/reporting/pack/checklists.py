"""Checklists as data, and the sentences of each item that the facts of a run fill."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.reporting.pack.tracked import Ledger, TrackedList, TrackedText, plain
from ecgtune.reporting.pages import make_environment
from ecgtune.reporting.tables import escape_markdown
from ecgtune.utils import formatting

if TYPE_CHECKING:
    from jinja2 import Environment

#: Checklists in the order of the pack: name of the data file and of the document.
CHECKLISTS = ("tripod-ai", "stard-ai", "probast-ai")
#: Checklist whose sentences the others take with `= NUMBER`.
_SHARED = "tripod-ai"


@dataclass(frozen=True)
class Answer:
    """One item: sentences from facts, with marks; `person` is what a person has to add, empty if nothing.

    suggest: an answer that the facts support, of a question; empty without facts.
    """

    number: str
    section: str
    asks: str
    sentences: tuple[str, ...]
    suggest: str
    person: str

    @property
    def main(self) -> str:
        """The number without the letter of a part."""
        return self.number.rstrip("abcdefg")


@dataclass(frozen=True)
class Filled:
    """A checklist with its answers."""

    name: str
    title: str
    cite: str
    numbering: str
    closing: str
    domains: Sequence[str]
    answers: Sequence[Answer]

    def counts(self) -> dict[str, int]:
        """Return how many items there are, have facts, are complete, need a person too, and are blank.

        `main` and `main_facts` count the items without the letters of their parts; an item has facts if a part has.
        """
        facts = [answer for answer in self.answers if answer.sentences]
        return {
            "items": len(self.answers),
            "facts": len(facts),
            "complete": sum(not answer.person for answer in facts),
            "with_person": sum(bool(answer.person) for answer in facts),
            "blank": len(self.answers) - len(facts),
            "main": len({answer.main for answer in self.answers}),
            "main_facts": len({answer.main for answer in facts}),
        }

    def summary(self) -> str:
        """Sentence with the counts."""
        found = self.counts()
        parts = "" if found["items"] == found["main"] else f" ({found['facts']} of {found['items']} with their parts)"
        return (
            f"{self.title}: facts fill {found['main_facts']} of {found['main']} items{parts}; {found['complete']} need "
            f"nothing else, {found['with_person']} a person too, {found['blank']} only a person."
        )


@cache
def read_checklist(name: str) -> dict[str, Any]:
    """Read the data of a checklist, or of the methods paragraph."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def fill(name: str, facts: Mapping[str, Any], ledger: Ledger) -> Filled:
    """Answer every item of a checklist with the sentences whose facts are there."""
    data = read_checklist(name)
    shared = {item["number"]: item.get("answers", []) for item in read_checklist(_SHARED)["item"]}
    answers = []
    for item in data["item"]:
        templates = [
            part for text in item.get("answers", []) for part in (shared[text[2:]] if text.startswith("= ") else [text])
        ]
        sentences = tuple(text for template in templates if (text := sentence(template, facts, ledger)))
        suggest = plain(_render(item.get("suggest", ""), facts) or "") if sentences else ""
        # An item without facts is a person's, also where facts of another run would answer it.
        person = item.get("person", "" if sentences else "all")
        answers.append(Answer(item["number"], item["section"], item["asks"], sentences, suggest, person))
    return Filled(
        name,
        data["title"],
        data["cite"],
        data["numbering"],
        data["closing"],
        data.get("domains", ()),
        tuple(answers),
    )


def sentence(template: str, facts: Mapping[str, Any], ledger: Ledger) -> str | None:
    """Return a sentence with marks, or None if a fact is missing or the sentence shows none."""
    text = _render(template, facts)
    return text if text and ledger.in_text(text) else None


def _render(template: str, facts: Mapping[str, Any]) -> str | None:
    from jinja2 import UndefinedError

    try:
        return " ".join(fact_environment().from_string(template).render(**facts).split())
    except UndefinedError:
        return None


@cache
def fact_environment() -> Environment:
    """Templates in which a missing fact is an error, and texts of files are escaped and keep their place."""
    found = make_environment()
    for name in ("score", "percent", "count", "rate", "seconds", "duration", "interval"):
        found.filters[name] = _needed(getattr(formatting, name))
    found.filters["join"] = lambda values, separator="": separator.join(
        escape_markdown(value) if type(value) is str else _shown(value) for value in values
    )
    found.filters["capital"] = lambda text: _shown(text, lambda own: own[:1].upper() + own[1:])
    found.finalize = _shown
    return _tracking(found)


@cache
def card_environment() -> Environment:
    """Templates of the reports, in which texts of files keep their place too."""
    found = _tracking(make_environment())
    printed = found.finalize
    found.finalize = lambda value: value.marked() if isinstance(value, TrackedText) else printed(value)  # type: ignore[misc]
    return found


def _tracking(found: Environment) -> Environment:
    escape = found.filters["markdown"]
    found.filters["markdown"] = lambda value: value.marked(escape) if isinstance(value, TrackedText) else escape(value)
    length = lambda value: value.length if isinstance(value, TrackedList) else len(value)  # noqa: E731
    found.filters["length"] = length
    return found


def _needed(function: Any) -> Any:
    def formatted(value: Any) -> str:
        from jinja2 import Undefined, UndefinedError

        text = "" if value is None or isinstance(value, Undefined) else function(value)
        if text in ("", formatting.MISSING, formatting.TOO_FEW):
            raise UndefinedError("the fact is missing")
        return text

    return formatted


def _shown(value: Any, change: Any = str) -> str:
    from jinja2 import UndefinedError

    if value is None:
        raise UndefinedError("the fact is missing")
    if isinstance(value, TrackedText):
        return value.marked(lambda text: escape_markdown(change(text)))
    return change(value if isinstance(value, str) else str(value))
