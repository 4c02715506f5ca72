"""Write the reviewer's pack of a finished run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgtune.errors import RunError, SettingError
from ecgtune.reporting.evidence import read_result
from ecgtune.reporting.figures import write_run_figures
from ecgtune.reporting.folders import read_run
from ecgtune.reporting.pack.checklists import CHECKLISTS, fill
from ecgtune.reporting.pack.croissant import croissant
from ecgtune.reporting.pack.documents import (
    BLANK,
    card_document,
    checklist_document,
    linked,
    methods_document,
    overview,
    references,
    template_facts,
)
from ecgtune.reporting.pack.evidence import read_evidence
from ecgtune.reporting.pack.tables import pack_tables
from ecgtune.reporting.pack.tracked import Shown
from ecgtune.reporting.stress import write_stress_figure
from ecgtune.reporting.style import with_pdf
from ecgtune.reporting.writing import readable
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import replace_folder, write_json, write_text
from ecgtune.utils.locks import one_writer

_COLUMNS = ("document", "shown", "factor", "file", "key", "value")


def write_pack(
    run: Path | str, out: Path | str = "pack", *, evaluation: Path | None = None, stress: Path | None = None
) -> list[str]:
    """Write the reviewer's pack of a finished run into the new folder `out`; return a sentence for each checklist.

    The pack has a model card, drafts for TRIPOD+AI and STARD-AI, answers for PROBAST+AI, the methods with their
    citations, tables (CSV, LaTeX), figures (SVG, PDF) and Croissant metadata. Every number links the copy of the
    result file that it was read from, and `numbers.csv` lists them; what only a person can answer is blank.

    evaluation, stress: folders that `ecgtune evaluate` and `ecgtune stress` wrote for this run. Raises RunError for an
    unfinished run and for results of another run, SettingError for a folder that has files, before anything is
    written.
    """
    out = Path(out)
    with one_writer(out, "writing a pack"):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SettingError(f"{out} has files, in which blanks may be filled in; give another folder with --pack")
        with readable(run):
            return _write(run, out, evaluation, stress)


def _write(run: Path | str, out: Path, evaluation: Path | None, stress: Path | None) -> list[str]:
    evidence = read_evidence(run, evaluation, stress)
    split = evidence.run.folder / "split.csv"
    if not split.is_file():
        raise RunError(f"{split} is missing; run this method again")
    facts = template_facts(evidence)
    filled = [fill(name, facts, evidence.ledger) for name in CHECKLISTS]
    marked = {"model-card.md": card_document(evidence), "methods.md": methods_document(evidence, facts)}
    marked |= {f"{each.name}.md": checklist_document(each) for each in filled}
    documents = {name: linked(text, evidence.ledger) for name, text in marked.items()}
    bibliography = references(list(marked.values()), evidence)
    metrics = read_run(run).metrics

    def write(folder: Path) -> None:
        numbers = [_row(name, shown) for name, (_, found) in documents.items() for shown in found]
        for name, (text, _) in documents.items():
            write_text(folder / name, text)
        for table in pack_tables(evidence):
            for suffix, make in (("csv", table.csv), ("tex", table.latex)):
                text, found = make(evidence.ledger)
                write_text(folder / "tables" / f"{table.name}.{suffix}", text)
                numbers += [_row(f"tables/{table.name}.{suffix}", shown) for shown in found]
        with with_pdf():
            write_run_figures(folder / "figures", read_run(run))
            if evidence.facts["stress"] is not None:
                write_stress_figure(
                    folder / "figures" / "stress.svg", read_result(evidence.copies["facts/stress.json"])
                )
        write_text(folder / "references.bib", bibliography)
        write_json(folder / "croissant.json", croissant(metrics, split))
        for copy, file in evidence.copies.items():
            (folder / copy).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, folder / copy)
        write_text(folder / "numbers.csv", csv_text([_COLUMNS, *numbers]))
        blanks = {name: text.count(BLANK) for name, (text, _) in documents.items()}
        write_text(folder / "README.md", overview(filled, evidence, blanks))

    replace_folder(out, write)
    return [each.summary() for each in filled]


def _row(document: str, shown: Shown) -> Sequence[Any]:
    value = len(shown.value) if isinstance(shown.value, list) else shown.value
    return (document, shown.text, f"{shown.factor:.10g}", shown.place.file, shown.place.pointer, value)
