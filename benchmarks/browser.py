"""The page of a model in headless Chromium beside Python: agreement in five formats, time, size and requests.

    python benchmarks/browser.py [--recordings 200] [--model FILE.onnx ...]
    python benchmarks/browser.py --formats [--windows 2400]

fine-tunes the bundled encoder (LoRA) on windows of CinC 2017, or simulated ones where ../shared is missing, exports it
in float32 and int8, and writes a page of each. Recordings of ten seconds at 300 Hz are written as WFDB, EDF, DICOM,
HL7 aECG and CSV, a fifth each. A page reads and answers them without a network; `ecgtune.runtime.Model` answers the
same files. With `--formats`, pages of each format of eight bits answer the test windows of a linear probe on the same
encoder, in recordings of many windows; probabilities are compared with those of torch. Results go to
benchmarks/results/browser-KIND.json and docs/performance.md.
"""

import argparse
import base64
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from export import REAL, run_of
from machines import command, described, result_file, write_result
from pages import amount, markdown, update

import ecgtune
from ecgtune.deployment.int8_graph import FORMATS
from ecgtune.deployment.run import read_run
from ecgtune.deployment.verification import original, verification_windows
from ecgtune.errors import VerificationError
from ecgtune.evaluation.groups import pooled_probability
from ecgtune.runtime import Model
from ecgtune.runtime.verification import figures
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.environment import now

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))  # its helpers write files of every format

RECORDS = ROOT.parent / "shared" / "data" / "records" / "cinc2017"
RATE = 300
SECONDS = 10
PART = 240  # windows of a recording that the page reads at once
KINDS = ("WFDB", "EDF", "DICOM", "aECG", "CSV")
#: Gives files to the page as a drop does, and the milliseconds from then to the answer.
DROP = """
async files => {
    const data = new DataTransfer();
    for (const [name, text] of files) {
        data.items.add(new File([Uint8Array.from(atob(text), (char) => char.charCodeAt(0))], name));
    }
    const root = document.documentElement;
    delete root.dataset.answered;
    delete root.dataset.failed;
    const done = new Promise((found) => new MutationObserver(found).observe(root, { attributes: true }));
    const start = performance.now();
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    await done;
    return performance.now() - start;
}
"""


def signals(count: int) -> tuple[np.ndarray, str]:
    """Recordings (count, samples) at 300 Hz in steps of a tenth of a microvolt, and where they are from.

    They are cut off at the 3.2 mV that 16 bits hold.
    """
    most = 32_000
    if not RECORDS.is_dir():
        data = ecgtune.simulate(count, sampling_rate=RATE, seconds=SECONDS, seed=5)
        return np.rint(1e4 * data.signal[:, 0]).clip(-most, most).astype(np.int64), "simulated"
    from ecgtune.io.readers.registry import read_recording

    length, parts = RATE * SECONDS, []
    for file in sorted(RECORDS.glob("*.hea")):
        signal = read_recording(file).signal[0]
        parts += [signal[start : start + length] for start in range(0, len(signal) - length + 1, length // 2)]
    chosen = [parts[row] for row in np.linspace(0, len(parts) - 1, count).astype(int)]
    return np.rint(1e4 * np.stack(chosen)).clip(-most, most).astype(np.int64), "CinC 2017"


def written(kind: str, steps: np.ndarray, folder: Path, name: str) -> list[Path]:
    """Write one recording in a format; the files, the one that Python reads first."""
    from helpers.clinical_files import hl7
    from helpers.recordings import dicom_group, write_csv, write_dicom, write_edf, write_wfdb

    rows, lead = steps[None], ("II",)
    if kind == "WFDB":
        header = write_wfdb(folder, rows, name=name, leads=lead, rate=RATE, adc_gain=[1e4])
        return [header, header.with_suffix(".dat")]
    if kind == "EDF":
        return [write_edf(folder / f"{name}.edf", rows, lead, rate=RATE)]
    if kind == "DICOM":
        return [write_dicom(folder / f"{name}.dcm", [dicom_group(rows, lead, rate=RATE)])]
    if kind == "aECG":
        path = folder / f"{name}.xml"
        path.write_text(hl7(rows, lead, step_ms=1000 / RATE, scale="0.1"))
        return [path]
    return [write_csv(folder / f"{name}.csv", rows / 1e4, lead)]


def answered(page: Any, files: list[Path]) -> tuple[dict[str, Any], float]:
    """What a page answers, and seconds from the drop. It asks for rate and unit of a CSV, which are stated before."""
    content = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    milliseconds = page.tab.evaluate(DROP, content)
    found = page.outcome()
    if found["error"] and not page.tab.is_hidden("#ask"):
        page.tab.fill("#rate", str(RATE))
        page.tab.select_option("#unit", "mV")
        page.tab.evaluate("document.documentElement.removeAttribute('data-failed')")
        begin = time.perf_counter()
        page.tab.click("#ask button")
        found = page.outcome()
        milliseconds = 1000 * (time.perf_counter() - begin)
    assert found["error"] is None, found["error"]
    return found, milliseconds / 1000


def compared(
    opened: Any, exported: Path, exact: Model, recordings: list[tuple[str, list[Path], np.ndarray]], folder: Path
) -> dict:
    """One page against Python on all recordings, and against `exact`, the model in float32."""
    from helpers.browser import OpenPage

    html = ecgtune.page(exported, folder / f"{exported.stem}.html")
    begin = time.perf_counter()
    page = OpenPage(opened, html)
    opening = time.perf_counter() - begin
    model = Model(exported, threads=1)
    windows, wholes, rounded, seconds, changed = [], [], [], [], np.zeros(2, np.int64)
    for kind, files, steps in recordings:
        found, took = answered(page, files)
        expected, whole = python_answer(model, kind, files, steps)
        precise, precise_whole = python_answer(exact, kind, files, steps)
        windows.append(np.abs(np.asarray(found["probability"]) - expected).max())
        wholes.append(np.abs(np.asarray(found["pooled"]) - whole).max())
        rounded.append(np.abs(np.asarray(found["probability"]) - precise).max())
        seconds.append(took)
        given, *others = (
            model.decision(_scored(model, np.asarray([each]))) for each in (found["pooled"], whole, precise_whole)
        )
        changed += [bool((given != other).any()) for other in others]
    begin = time.perf_counter()
    page.explained()
    stretches = time.perf_counter() - begin
    assert page.requests == page.errors == [], (page.requests, page.errors)
    page.context.close()
    return {
        "precision": model.metadata["precision"],
        "weights": model.metadata["format_of_weights"],
        "model_bytes": exported.stat().st_size,
        "page_bytes": html.stat().st_size,
        "recordings": len(recordings),
        "largest_difference": {"windows": float(max(windows)), "recordings": float(max(wholes))},
        "changed_decisions": int(changed[0]),
        "beside_float32": {"largest_difference": float(max(rounded)), "changed_decisions": int(changed[1])},
        "seconds": {
            "open": opening,
            "answer": float(np.median(seconds)),
            "slowest": max(seconds),
            "stretch": stretches,
        },
        "requests": 0,
    }


def python_answer(model: Model, kind: str, files: list[Path], steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the windows, and of the recording."""
    if kind == "CSV":  # Python takes the unit of a file from the file alone
        found = model.predict((steps / 1e4).astype(np.float32)[None], RATE, leads=("II",))
    else:
        found = model.predict(files[0])
    return found, pooled_probability(found, np.zeros(len(found)), model.recording_rule)[1][0]


def _scored(model: Model, probability: np.ndarray) -> np.ndarray:
    return probability[:, 1] if model.task == "binary" else probability


def exports(folder: Path) -> list[Path]:
    """A run of the bundled encoder in float32 and int8."""
    real = (
        ecgtune.read_dataset(REAL, settings=ecgtune.WindowSettings(limit=1500))
        if REAL.is_file()
        else ecgtune.simulate(1500, seed=0)
    )
    run = run_of("ecg-fm-tiny", ecgtune.LoRA(rank=8), real, folder / "run", 1)
    paths = [folder / "float32.onnx", folder / "int8.onnx"]
    for path in paths:
        ecgtune.export(run, path, ecgtune.ExportSettings(int8=path.stem == "int8"))
    return paths


def formats(opened: Any, folder: Path, count: int) -> dict[str, Any]:
    """Each format of eight bits in WebAssembly on the test windows of a probe, beside torch in float32."""
    from helpers.browser import OpenPage
    from helpers.recordings import write_csv

    data = (
        ecgtune.read_dataset(REAL, settings=ecgtune.WindowSettings(limit=count))
        if REAL.is_file()
        else ecgtune.simulate(count, seed=0)
    )
    run = read_run(run_of("ecg-fm-tiny", ecgtune.LinearProbe(), data, folder / "probe", 20))
    windows = verification_windows(run, None)
    rate = windows.sampling_rate
    expected = original(run, windows.signal, rate)[0]
    parts = [
        write_csv(folder / f"part{start}.csv", windows.signal[start : start + PART, 0].reshape(1, -1), run.leads)
        for start in range(0, len(windows.signal), PART)
    ]
    found = {}
    for name, make in FORMATS.items():
        file = folder / f"{name}.onnx"
        try:
            with patch.dict(FORMATS, {name: make}, clear=True):
                ecgtune.export(run, file, ecgtune.ExportSettings(int8=True))
        except VerificationError as error:
            found[name] = {"refused": str(error)}
            continue
        page = OpenPage(opened, ecgtune.page(file, folder / f"{name}.html"))
        answers = [page.read(part, rate=f"{rate:g}", unit="mV")["probability"] for part in parts]
        page.context.close()
        probability = np.concatenate(answers)
        found[name] = figures(expected, probability, run.decision, windows.label, windows.recording, run.recording_rule)
    return {"windows": windows.origin, "labels": "CinC 2017" if REAL.is_file() else "simulated", "found": found}


def table(result: Mapping[str, Any]) -> str:
    """Return a Markdown table of the pages."""
    rows = [
        (
            f"{row['precision']} ({row['weights']})" if row["precision"] != row["weights"] else row["precision"],
            amount(row["model_bytes"], "bytes"),
            amount(row["page_bytes"], "bytes"),
            str(row["recordings"]),
            f"{row['largest_difference']['windows']:.2g}",
            str(row["changed_decisions"]),
            f"{row['beside_float32']['largest_difference']:.2g}",
            str(row["beside_float32"]["changed_decisions"]),
            amount(row["seconds"]["open"]),
            amount(row["seconds"]["answer"]),
            amount(row["seconds"]["slowest"]),
            amount(row["seconds"]["stretch"]),
            str(row["requests"]),
        )
        for row in result["pages"]
    ]
    header = (
        *("model", "its size", "page", "recordings", "largest difference to Python", "changed decisions"),
        *("largest difference to float32", "changed decisions", "to open"),
        *("drop to answer", "slowest", "to find the stretch", "requests to a network"),
    )
    text = f"{described(result)}, {result['browser']}, {result['signals']}.\n\n{markdown(header, rows)}"
    if "formats_of_weights" not in result:
        return text
    part = result["formats_of_weights"]
    rows = [
        (name, "refused by the export") + ("",) * 3
        if "refused" in each
        else (
            name,
            f"{each['largest_difference']:.2g}",
            f"{each['changed_decisions']} of {each['count']}",
            f"{each['auroc']['before']:.4f}, {each['auroc']['after']:.4f}",
            f"{each['recordings']['changed_decisions']} of {each['recordings']['count']}",
        )
        for name, each in part["found"].items()
    ]
    header = ("format", "largest difference", "changed decisions", "AUROC before and after", "of recordings")
    title = (
        f"Formats of eight bits in WebAssembly, a linear probe of ecg-fm-tiny on {part['labels']}, {part['windows']}:"
    )
    return f"{text}\n{title}\n\n{markdown(header, rows)}"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--model", type=Path, nargs="*", help="exported files instead of the two that are made")
    parser.add_argument("--formats", action="store_true", help="formats of eight bits on test windows alone")
    parser.add_argument("--windows", type=int, default=2400)
    parser.add_argument("--result", type=Path, default=None)
    options = parser.parse_args(arguments)
    from helpers.browser import browser

    file = options.result or result_file("browser")
    kept = json_value(file) if file.is_file() else {}
    if options.formats:
        with tempfile.TemporaryDirectory() as place, browser() as opened:
            part = formats(opened, Path(place), options.windows)
        result = {**kept, "formats_of_weights": {"command": command(), "date": now(), **part}}
        write_json(file, result)
        if options.result is None:
            update()
        return result
    steps, origin = signals(options.recordings)
    with tempfile.TemporaryDirectory() as place, browser() as opened:
        folder = Path(place)
        kinds = [KINDS[number % len(KINDS)] for number in range(len(steps))]
        recordings = [
            (kind, written(kind, row, folder, f"r{number:03}"), row)
            for number, (kind, row) in enumerate(zip(kinds, steps, strict=True))
        ]
        files = options.model or exports(folder)
        exact = Model(files[0], threads=1)
        pages = [compared(opened, path, exact, recordings, folder) for path in files]
        facts = {"browser": f"Chromium {opened.version}", "signals": origin, "formats": list(KINDS), "pages": pages}
    facts |= {name: kept[name] for name in ("formats_of_weights",) if name in kept}
    result = write_result(file, facts)
    if options.result is None:
        update()
    return result


if __name__ == "__main__":
    main()
