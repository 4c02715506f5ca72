"""Documents of the pack in Markdown, in which every number links the file and key that it was read from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ecgtune import models
from ecgtune.reporting.pack.checklists import Filled, card_environment, read_checklist, sentence
from ecgtune.reporting.pack.evidence import FACTS, Evidence
from ecgtune.reporting.pack.tracked import Ledger, Shown, plain
from ecgtune.reporting.pages import plain_value, run_facts
from ecgtune.reporting.tables import escape_markdown
from ecgtune.reporting.wording import decision_sentence, metric_titles, run_headline, task_of, unit_name

BLANK = "______"
#: What Markdown shows as it is, so that it can hold no link.
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_CITED = re.compile(r"@([A-Za-z]+[0-9]+[A-Za-z]*)")
_ENTRY = re.compile(r"^@\w+\{([^,]+),", re.MULTILINE)


def template_facts(evidence: Evidence) -> dict[str, Any]:
    """Return the facts of the sentences: files, and what `wording` says about the run."""
    facts, metrics = evidence.facts, evidence.run.metrics
    calibration, external, certainty = facts["calibration"], facts["external"], facts["certainty"]
    data = read_checklist("methods")
    kinds = sorted({plain(str(each["kind"])) for each in calibration["calibration"]["maps"]}) if calibration else []
    novelty = certainty and certainty.get("novelty", {}).get("kind")
    sides = calibration and (calibration["after"] or calibration["before"])
    return {
        **facts,
        "task": task_of(metrics),
        "unit": unit_name(metrics["split"]),
        "threshold": decision_sentence(metrics),
        "headline": run_headline(metrics),
        "titles": metric_titles(metrics),
        "calibration_after": {name: each for name, each in (sides["each"] if sides else {}).items() if each},
        "external_names": [
            name
            for name, row in (external["window"]["metrics"].items() if external else ())
            if all(row[side] and row[side]["value"] is not None for side in ("internal", "external"))
        ],
        "method_cites": data["method_cites"],
        "calibration_cite": _cite(
            data["calibration_cites"][kind] for kind in kinds if kind in data["calibration_cites"]
        ),
        "novelty_cite": _cite([data["novelty_cites"][novelty]] if novelty in data["novelty_cites"] else []),
        "encoder_cite": _cite(_ENTRY.findall(_encoder_entry(facts["model"]))),
        "disturbances": list(dict.fromkeys(str(row["title"]) for row in facts["stress"]["rows"]))
        if facts["stress"]
        else [],
    }


def _cite(keys: Any) -> str:
    found = "; ".join(f"@{key}" for key in keys)
    return f" [{found}]" if found else ""


def _encoder_entry(model: Mapping[str, Any] | None) -> str:
    """The BibTeX entry in the folder of the architecture of model.json; empty for architectures without one."""
    if model is None:
        return ""
    file = Path(models.__path__[0]) / str(model["architecture"]).replace("-", "_") / "citation.bib"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def checklist_document(filled: Filled) -> str:
    """Return a checklist with its answers and blanks."""
    lines = [f"# {filled.title}", "", filled.summary(), "", filled.numbering, ""]
    for answer in filled.answers:
        lines += [f"## {answer.number} {answer.section}", "", f"*{answer.asks[:1].upper()}{answer.asks[1:]}*", ""]
        if answer.suggest:
            lines.append(f"- Suggested answer: **{answer.suggest}**")
        lines += [f"- {text}" for text in answer.sentences]
        if answer.person:
            wanted = "" if answer.person == "all" else f" ({answer.person})"
            lines.append(f"- **To be completed by a person**{wanted}: {BLANK}")
        lines.append("")
    for domain in filled.domains:
        lines += [f"- **Risk of bias or concern, {domain.lower()}** (a person rates it): {BLANK}"]
    return "\n".join([*lines, *([""] if filled.domains else []), filled.closing, ""])


def methods_document(evidence: Evidence, facts: Mapping[str, Any]) -> str:
    """Return the methods paragraph with its citations, and every setting."""
    found = (sentence(each, facts, evidence.ledger) for each in read_checklist("methods")["sentences"])
    paragraph = [each for each in found if each]
    lines = ["# Methods", "", " ".join(paragraph), ""]
    if not facts["encoder_cite"]:
        lines += [f"- **To be completed by a person** (citation of the encoder): {BLANK}", ""]
    lines += [
        f"- **To be completed by a person** (people, setting, dates, reference standard, ethics): {BLANK}",
        "",
        "Citations are keys of `references.bib`.",
        "",
        "## Every setting",
        "",
        "| Setting | Value |",
        "| :--- | :--- |",
    ]
    for name, value in settings(evidence):
        lines.append(f"| `{name}` | {shown_value(value)} |")
    return "\n".join([*lines, ""])


def settings(evidence: Evidence) -> list[tuple[str, Any]]:
    """Return name and value of every setting of the recipe."""
    found: list[tuple[str, Any]] = []

    def add(table: Mapping[str, Any], prefix: str) -> None:
        for name, value in table.items():
            if isinstance(value, Mapping):
                add(value, f"{prefix}{name}.")
            else:
                found.append((f"{prefix}{name}", value))

    add(evidence.facts["recipe"], "")
    return found


def shown_value(value: Any) -> str:
    """Return a value of a table as text with marks."""
    if isinstance(value, (list, tuple)):
        return ", ".join(shown_value(each) for each in value)
    if isinstance(value, str):
        return card_environment().filters["markdown"](value)
    return plain_value(value)


def card_document(evidence: Evidence) -> str:
    """Return the model card."""
    return card_environment().get_template("model-card.md.j2").render(**run_facts(evidence.run))


def references(documents: Sequence[str], evidence: Evidence) -> str:
    """Return the BibTeX entries that the documents cite. Raises KeyError for a key that no file has."""
    text = (Path(__file__).parent / "citations.bib").read_text(encoding="utf-8")
    text += _encoder_entry(evidence.facts["model"])
    entries = {_ENTRY.findall(line)[0]: line for line in text.splitlines() if line.startswith("@")}
    cited = dict.fromkeys(key for document in documents for key in _CITED.findall(plain(document)))
    return "\n".join(entries[key] for key in sorted(cited)) + "\n"


def linked(text: str, ledger: Ledger) -> tuple[str, list[Shown]]:
    """Replace marks by links where the value has a digit; return the text and the values that are linked.

    Code keeps the text alone, since Markdown shows no link there.
    """
    found: list[Shown] = []

    def link(shown: Shown, own: str) -> str:
        if not any(character.isdigit() for character in own):
            return own
        found.append(shown)
        return f"[{own}]({shown.place.file}#{quote(shown.place.pointer, safe='/~')})"

    parts = [part if part.startswith("`") else ledger.resolve(part, link) for part in _CODE.split(text)]
    return plain("".join(parts)), found


def overview(filled: Sequence[Filled], evidence: Evidence, blanks: Mapping[str, int]) -> str:
    """Return README.md of the pack: its documents, how much is filled, and how to follow a number."""
    name = escape_markdown(str(evidence.run.metrics["name"]))
    rows = [f"| [{file}]({file}) | {blanks[file]} |" for file in blanks]
    return "\n".join(
        [
            f"# Reviewer's pack of {name}",
            "",
            *(f"- {each.summary()}" for each in filled),
            "",
            "Nothing here was typed: sentences are made of the result files, whose copies are in "
            f"`{FACTS}/`. A number links the file and the key that it was read from; `numbers.csv` lists all of them. "
            f"What only a person can answer is blank (`{BLANK}`).",
            "",
            "| Document | Blanks |",
            "| :--- | ---: |",
            *rows,
            "",
            "`tables/` has the tables as CSV and LaTeX, `figures/` the figures as SVG and PDF, `references.bib` the "
            "citations, `croissant.json` the description of the data. These documents are drafts: check every "
            "sentence before you submit it.",
            "",
        ]
    )
