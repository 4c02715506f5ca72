"""Kill trainings, comparisons, sweeps, pretrainings, readers of data, exports and predictions, and rerun them.

    python benchmarks/crash.py [--kills 200] [--operations 40] [--victims NAME ...] [--result FILE]

Each victim runs twice undisturbed. Then it is killed at random moments (`--kills` in all), and at every write, fsync
and rename below its folder, or at `--operations` of them at equal distances: before the operation, and every second
time after half of it. At every fifth of these positions the disk is also full from there on. After each fault the
same command runs to its end, and its files are compared with those of the undisturbed run: bytes, but for fields that
hold times, memory or the command line. A library written in C (`faults.c`, Linux) counts the operations, whoever
calls them; a compiler `cc` is needed.

Faults that are done are kept in `--work`, so a call that was interrupted, or ended after `--minutes`, resumes. Results
are in benchmarks/results/crash.json; the exit status is 1 if a run ended on other bytes, with an error, or left
temporary files.
"""

import argparse
import ctypes
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import ecgtune  # noqa: E402
from ecgtune.config.data import DataSettings  # noqa: E402
from ecgtune.config.optimisation import Optimisation  # noqa: E402
from ecgtune.config.trainer import TrainerSettings  # noqa: E402
from ecgtune.errors import EcgtuneError  # noqa: E402
from ecgtune.io.writing import write_csv  # noqa: E402
from ecgtune.utils.locks import LOCK, OWNER  # noqa: E402
from helpers.pretraining import TEACHER, write_recordings  # noqa: E402

COUNT, KILL, TEAR, FULL = range(4)
KINDS = ("random", "operation", "full disk")
EVERY_STEP = 1e-9  # minutes between two saves of the state
TRAINER = TrainerSettings(device="cpu", precision="fp32")
LOOP = Optimisation(epochs=2, batch_size=16)
#: Measured by a training and shown by every table and report: the same in all victims.
MEASURED = {"seconds": 1.0, "seconds_per_epoch": 0.5, "peak_memory_bytes": 1000}
#: Fields of JSON files that differ between two undisturbed runs.
TIMES = {"seconds", "seconds_per_epoch", "seconds_per_window", "created", "peak_memory_bytes", "command", "started"}
TEXT = (".html", ".md", ".svg")
TIME_IN_TEXT = re.compile(rb"\d{4}-\d\d-\d\d[T ][\d:.+]+|\d+(\.\d+)?( ?(s|ms|min|h|kB|MB|GB)\b|</td>)")
#: Imported once, by the process of which the victims are forks; it computes nothing, so it has no threads.
IMPORTS = (
    *(f"ecgtune.workflows.{name}" for name in ("fine_tune", "compare", "sweep.sweep", "pretrain", "predict", "export")),
    *("ecgtune.deployment.export", "ecgtune.deployment.run", "ecgtune.methods.lora.layers", "ecgtune.runtime.model"),
    *("matplotlib.backends.backend_svg", "optuna", "optuna.storages", "sqlalchemy.dialects.sqlite", "peft"),
    *("onnxruntime", "onnxscript", "pyarrow.csv", "scipy.signal", "torch.onnx", "torch.utils.flop_counter"),
)


class Place:
    """What the victims read: simulated windows, recordings, and a finished run."""

    def __init__(self, folder: Path) -> None:
        self.windows, self.pool, self.run = folder / "windows.csv", folder / "recordings.npz", folder / "run"
        self.graph = folder / "graph.pickle"
        self.table, self.records = folder / "labels.csv", folder / "records"
        self.dataset = ecgtune.simulate(60, seed=1, seconds=3)

    def fill(self) -> None:
        """Write what is missing of the data."""
        if self.pool.exists():  # written last
            return
        shutil.rmtree(self.records, ignore_errors=True)
        self.windows.unlink(missing_ok=True)
        write_csv(self.dataset, self.windows)
        self.records.mkdir()
        for index in range(20):
            np.save(self.records / f"{index}.npy", np.random.default_rng(index).normal(size=1000).astype("f4"))
        self.table.write_text("record,label\n" + "".join(f"{index},{index % 2}\n" for index in range(20)))
        write_recordings(self.pool)

    def train(self) -> None:
        """Make the run and the graph of its export where they are missing."""
        if self.graph.exists():
            return
        from ecgtune.deployment.graph import InferenceGraph
        from ecgtune.deployment.onnx_graph import to_onnx

        shutil.rmtree(self.run, ignore_errors=True)
        ecgtune.fine_tune(self.dataset, recipe("lora"), out=self.run, quiet=True)
        run = ecgtune.load_run(self.run)
        graph = to_onnx(InferenceGraph(run.model, run.preprocessing, run.task, 100.0), 1, 300)
        self.graph.write_bytes(pickle.dumps(graph))


def recipe(name: str, save_minutes: float = EVERY_STEP, **optimisation: Any) -> ecgtune.Recipe:
    trainer = replace(TRAINER, save_minutes=save_minutes)
    return replace(
        ecgtune.recipe(name), optimisation=replace(LOOP, **optimisation), trainer=trainer, data=DataSettings()
    )


def training(place: Place, out: Path) -> None:
    resume = (out / "run/recipe.toml").exists()
    ecgtune.fine_tune(place.dataset, recipe("probe"), out=out / "run", resume=resume, quiet=True)


def head_first(place: Place, out: Path) -> None:
    resume = (out / "run/recipe.toml").exists()
    ecgtune.fine_tune(place.dataset, recipe("ia3", head_epochs=2), out=out / "run", resume=resume, quiet=True)


def comparison(place: Place, out: Path) -> None:
    ecgtune.compare(
        place.dataset, [recipe("probe"), recipe("lora", 5.0)], out=out / "compare", seeds=1, baselines=False, quiet=True
    )


def sweep(place: Place, out: Path) -> None:
    settings = ecgtune.SweepSettings(trials=2)
    ecgtune.sweep(place.dataset, [recipe("probe")], settings, out=out / "sweep", quiet=True)


def pretraining(place: Place, out: Path) -> None:
    small = replace(TEACHER, trainer=TRAINER, optimisation=replace(TEACHER.optimisation, epochs=2))
    ecgtune.pretrain(place.pool, small, out=out / "run", resume=(out / "run/recipe.toml").exists(), quiet=True)


def first_pass(place: Place, out: Path) -> None:
    options = ecgtune.ReadOptions(sampling_rate=200.0, unit="mV")
    ecgtune.read_records(place.table, place.records, options=options, settings=ecgtune.RecordSettings(workers=1))


def cache(place: Place, out: Path) -> None:
    ecgtune.read_dataset(place.windows, sampling_rate=100)


def export(place: Place, out: Path) -> None:
    from ecgtune.deployment import export as exporting

    exporting.to_onnx = lambda *_graph: pickle.loads(place.graph.read_bytes())  # takes ten seconds and writes nothing
    ecgtune.export(place.run, out / "model.onnx")


def prediction(place: Place, out: Path) -> None:
    ecgtune.predict(place.run, place.windows, out=out / "predictions", quiet=True)


def preparation(place: Place, out: Path) -> None:
    place.fill()


def trained(place: Place, out: Path) -> None:
    place.train()


VICTIMS: dict[str, Callable[[Place, Path], None]] = {
    each.__name__: each
    for each in (training, head_first, comparison, sweep, pretraining, first_pass, cache, export, prediction)
}

READERS = {"first_pass", "cache"}
ACTIONS = {**VICTIMS, "preparation": preparation, "trained": trained}


def snapshot(out: Path) -> dict[str, str]:
    """A digest of every file below a folder, without times; temporary files count as what they are.

    Files of a lock do not: the next process takes them over.
    """
    files = [file for file in sorted(out.rglob("*")) if file.is_file() and file.name not in (LOCK, OWNER)]
    return {str(file.relative_to(out)): _digest(file) for file in files}


def _digest(file: Path) -> str:
    data = file.read_bytes()
    if file.suffix in (".json", ".jsonl") or file.name == "entry.json":
        lines = data.decode().splitlines() if file.suffix == ".jsonl" else [data.decode()]
        data = json.dumps([without_times(json.loads(line)) for line in lines], sort_keys=True).encode()
    elif file.suffix in TEXT:
        data = TIME_IN_TEXT.sub(b"", data)
    elif file.name == "trials.csv":
        data = b"\n".join(re.sub(rb"\d+\.\d+,(\d+)$", rb"\1", line) for line in data.splitlines())
    elif file.suffix == ".db":  # of SQLite: pages hold times, and rows of interrupted trials
        data = b""
    elif file.suffix == ".onnx":
        data = _graph(data)
    return hashlib.sha256(data).hexdigest()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def _graph(data: bytes) -> bytes:
    """An exported model without its metadata, which state how fast it was."""
    import onnx

    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


class Server:
    """Starts victims as forks of this process, which has imported everything that they need."""

    def __init__(self, place: Place, work: Path, training: bool) -> None:
        if training:
            for module in IMPORTS:
                import_module(module)
            from matplotlib.figure import Figure

            from ecgtune.recipes.preset import _presets
            from ecgtune.workflows import run

            run.run_metrics = same_measurements(run.run_metrics)
            Figure.savefig = empty_figure  # type: ignore[method-assign]
            _presets()  # cached from now on
        self.place, self.work = place, work
        self.faults = ctypes.CDLL(None)
        self.faults.faults_count.restype = ctypes.c_long

    def start(self, name: str, out: Path, at: int = 0, action: int = COUNT) -> int:
        out.mkdir(parents=True, exist_ok=True)
        process = os.fork()
        if process:
            return process
        status = 1
        try:
            log = os.open(self.work / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["ECGTUNE_CACHE"] = str(out / "cache")
            self.faults.faults_arm(str(out).encode(), ctypes.c_long(at), action)
            ACTIONS[name](self.place, out)
            (self.work / "count").write_text(str(self.faults.faults_count()))
            status = 0
        except EcgtuneError as error:
            (self.work / "error").write_text(str(error))
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def run(self, name: str, out: Path, at: int = 0, action: int = COUNT) -> int:
        """Exit status of a victim, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.start(name, out, at, action), 0)[1])

    def killed(self, name: str, out: Path, after: float) -> int:
        """The same for one that is killed `after` seconds, unless it ended sooner."""
        process = self.start(name, out)
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def same_measurements(run_metrics: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Metrics of a run with the values of `MEASURED`."""

    def fixed(*arguments: Any) -> dict[str, Any]:
        metrics = run_metrics(*arguments)
        return {**metrics, "training": metrics["training"] | MEASURED}

    return fixed


def empty_figure(figure: Any, path: Path, **_settings: Any) -> None:
    """Drawing would take half of the time of most victims, and its moments are as those of any other computation."""
    path.write_text("<?xml?><svg></svg>")


def undisturbed(server: Server, name: str, folder: Path) -> tuple[dict[str, str], int, float]:
    """Files, number of operations and seconds of a victim that nothing stops. Two of them must be equal."""
    found, seconds, count = [], 0.0, 0
    for number in range(2):
        out = folder / f"whole-{number}"
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        if server.run(name, out):
            sys.exit(f"{name} fails undisturbed; see {server.work / 'log.txt'}")
        seconds, count = time.monotonic() - started, int((server.work / "count").read_text())
        found.append(snapshot(out))
    different = differences(*found)
    if different:
        sys.exit(f"{name}: two undisturbed runs differ in {different}")
    return found[0], count, seconds


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))


def moments(kind: str, count: int, seconds: float, kills: int, operations: int, seed: int) -> list[tuple[float, int]]:
    """Moment (operation or seconds) and action of each fault of a kind."""
    if kind == "random":
        return [(at, KILL) for at in np.random.default_rng(seed).uniform(0, seconds, kills).tolist()]
    positions = np.unique(np.linspace(1, count, min(operations or count, count)).round().astype(int)).tolist()
    if kind == "full disk":
        return [(at, FULL) for at in positions[::5]]
    return [(at, TEAR if number % 2 else KILL) for number, at in enumerate(positions)]


class Done:
    """Results of faults, kept in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.results: dict[str, list[str]] = {}
        if file.exists():
            self.results = dict(map(json.loads, file.read_text().splitlines()))

    def add(self, key: str, result: list[str]) -> None:
        self.results[key] = result
        with self.file.open("a") as file:
            file.write(json.dumps([key, result]) + "\n")


def hit(server: Server, name: str, folder: Path, whole: dict[str, str], kind: str, at: float, action: int) -> list[str]:
    """What went wrong after a fault: none, if the rerun ends on the files of the undisturbed run."""
    out = folder / "hit"
    shutil.rmtree(out, ignore_errors=True)
    (server.work / "error").unlink(missing_ok=True)
    status = server.killed(name, out, at) if kind == "random" else server.run(name, out, int(at), action)
    allowed = (0, 2) if kind == "full disk" else (0, -signal.SIGKILL)
    wrong = [] if status in allowed else [f"status {status}"]
    if status == 2 and "No space left on device" not in (server.work / "error").read_text():
        wrong.append((server.work / "error").read_text())
    status = server.run(name, out)
    if status:
        return [*wrong, f"rerun ends with {status}: {(server.work / 'error').read_text() if status == 2 else 'log'}"]
    return [*wrong, *differences(whole, snapshot(out))]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--operations", type=int, default=0, help="0: all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no new fault after this time")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ecgtune-crash")
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks/results/crash.json")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["ECGTUNE_CACHE"] = str(options.work / "cache")
    place = Place(options.work)
    server = Server(place, options.work, training=bool(set(options.victims) - READERS))
    for step in ("preparation", *(["trained"] if {"export", "prediction"} & set(options.victims) else [])):
        if server.run(step, options.work / "inputs"):
            sys.exit(f"see {options.work / 'log.txt'}")
    done = Done(options.work / "done.jsonl")
    wholes = {name: undisturbed(server, name, options.work / name) for name in options.victims}
    rows: dict[str, Any] = {}
    for name, (_, count, seconds) in wholes.items():
        counts = {kind: {"faults": 0, "same bytes": 0} for kind in KINDS}
        rows[name] = {"operations": count, "seconds": round(seconds, 2), **counts}
    # Of each kind one fault of every victim, then the next: a call that is stopped has met all victims alike.
    faults = []
    for number, (name, (_, count, seconds)) in enumerate(wholes.items()):
        kills = options.kills // len(wholes) + (number < options.kills % len(wholes))
        for order, kind in enumerate(KINDS):
            found = moments(kind, count, seconds, kills, options.operations, seed=number)
            faults += [(order, index, name, at, action) for index, (at, action) in enumerate(found)]
    stop = time.monotonic() + 60 * options.minutes
    for order, index, name, at, action in sorted(faults):
        kind, key = KINDS[order], f"{name} {KINDS[order]} {index}"
        if key not in done.results:
            if time.monotonic() > stop:
                continue
            done.add(key, hit(server, name, options.work / name, wholes[name][0], kind, at, action))
        wrong = done.results[key]
        rows[name][kind]["faults"] += 1
        rows[name][kind]["same bytes"] += not wrong
        if wrong:
            rows[name].setdefault("wrong", []).append([kind, at, wrong])
            print(f"{name}, {kind} {at}: {wrong}", flush=True)
    total = {
        kind: {key: sum(row[kind][key] for row in rows.values()) for key in ("faults", "same bytes")} for kind in KINDS
    }
    from machines import write_result

    return write_result(options.result, {"total": total, "victims": rows})


def with_faults() -> None:
    """Start this script again with the library that makes the faults."""
    source = Path(__file__).with_name("faults.c")
    library = Path(tempfile.gettempdir()) / f"ecgtune-faults-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    settings = {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings})


if __name__ == "__main__":
    if "ecgtune-faults" not in os.environ.get("LD_PRELOAD", ""):
        with_faults()
    total = main()["total"]
    print(json.dumps(total))
    sys.exit(any(row["faults"] != row["same bytes"] for row in total.values()))
