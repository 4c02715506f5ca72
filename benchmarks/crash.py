"""Kill trainings, comparisons, sweeps, pretrainings, readers of data, exports and predictions, and rerun them.

    python benchmarks/crash.py [--kills 200] [--states 0] [--full 0] [--victims NAME ...] [--result FILE]

Each victim runs twice undisturbed. Then it meets faults of four kinds:

- random: it is killed at a random moment (`--kills` in all);
- operation: a kill at each write, fsync and rename below its folder, and amid each write (`--states` of each victim, 0
  for all). A victim that runs to its end is stopped there and its folder is copied, which is all that a kill leaves;
- full disk: each write (`--full` of each victim, 0 for all) and all operations after it fail as on a full disk.

- temporary: as operation, at those that change only the content of temporary files, which no rerun should read; last.

After each fault the same command runs to its end, and its files are compared with those of the undisturbed run: bytes,
but for fields that hold times, memory or the command line. A folder that equals one of an earlier operation is not
tried again. A library written in C (`faults.c`, Linux) stops at the operations, whoever calls them; a compiler `cc` is
needed.

Faults that are done are kept in `--work` for the same commit, so a call that was interrupted, or ended after
`--minutes`, resumes. Results are in benchmarks/results/crash.json; the exit status is 1 if a run ended on other bytes,
with an error, or left temporary files.
"""

import argparse
import ctypes
import gc
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
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
from ecgtune.runtime.model import load_onnxruntime  # noqa: E402
from ecgtune.utils.locks import LOCK, OWNER  # noqa: E402
from helpers.pretraining import TEACHER, write_recordings  # noqa: E402

COUNT, STOP, FULL = range(3)
KINDS = ("random", "operation", "full disk", "temporary")
#: The first of the names in a path that the program gives a file or folder for a time.
TEMPORARY = re.compile(r"(^|/)(\.[^/]*\.partial|unfinished-)[^/]*")
Damage = Callable[[Path], list[str]]  # brings about a fault in a folder; returns what went wrong with it
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
    *("onnxscript", "pyarrow.csv", "scipy.signal", "torch.onnx", "torch.utils.flop_counter"),
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
        ecgtune.fine_tune(self.dataset, recipe("lora"), out=self.run)
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
    ecgtune.fine_tune(place.dataset, recipe("probe"), out=out / "run", resume=resume)


def head_first(place: Place, out: Path) -> None:
    resume = (out / "run/recipe.toml").exists()
    ecgtune.fine_tune(place.dataset, recipe("ia3", head_epochs=2), out=out / "run", resume=resume)


def comparison(place: Place, out: Path) -> None:
    ecgtune.compare(
        place.dataset,
        [recipe("probe"), recipe("lora", 5.0)],
        ecgtune.CompareSettings(seeds=1, baselines=False),
        out=out / "compare",
    )


def sweep(place: Place, out: Path) -> None:
    settings = ecgtune.SweepSettings(trials=2)
    ecgtune.sweep(place.dataset, [recipe("probe")], settings, out=out / "sweep")


def pretraining(place: Place, out: Path) -> None:
    small = replace(TEACHER, trainer=TRAINER, optimisation=replace(TEACHER.optimisation, epochs=2))
    ecgtune.pretrain(place.pool, small, out=out / "run", resume=(out / "run/recipe.toml").exists())


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
    ecgtune.predict(place.run, place.windows, out=out / "predictions")


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
    return _sha256(data).hex()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


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
            load_onnxruntime()
            for module in IMPORTS:
                import_module(module)
            from matplotlib.figure import Figure

            from ecgtune.recipes.preset import _presets
            from ecgtune.reporting.pages import _environment
            from ecgtune.workflows import run

            run.run_metrics = same_measurements(run.run_metrics)
            Figure.savefig = empty_figure  # type: ignore[method-assign]
            _presets()  # cached from now on
            for template in _environment().list_templates():
                _environment().get_template(template)
        gc.freeze()  # what is imported is no garbage of a victim
        self.place, self.work = place, work
        self.faults = ctypes.CDLL(None)
        self.faults.faults_count.restype = self.faults.faults_written.restype = ctypes.c_long

    def start(self, name: str, out: Path, at: int = 0, action: int = COUNT) -> int:
        out.mkdir(parents=True, exist_ok=True)
        (self.work / "error").unlink(missing_ok=True)
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
            (self.work / "count").write_text(f"{self.faults.faults_count()} {self.faults.faults_written()}")
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

    def error(self) -> str:
        """The message of the last victim that ended with status 2."""
        file = self.work / "error"
        return file.read_text() if file.exists() else ""

    def killed(self, name: str, out: Path, after: float) -> int:
        """The same for one that is killed `after` seconds, unless it ended sooner."""
        process = self.start(name, out)
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def stops(self, name: str, out: Path) -> Iterator[None]:
        """Run a victim to its end, and yield whenever it is stopped."""
        process = self.start(name, out, action=STOP)
        while os.WIFSTOPPED(status := os.waitpid(process, os.WUNTRACED)[1]):
            yield
            os.kill(process, signal.SIGCONT)
        if status:
            sys.exit(f"{name} fails where it is stopped; see {self.work / 'log.txt'}")


def same_measurements(run_metrics: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Metrics of a run with the values of `MEASURED`."""

    def fixed(*arguments: Any) -> dict[str, Any]:
        metrics = run_metrics(*arguments)
        return {**metrics, "training": metrics["training"] | MEASURED}

    return fixed


def empty_figure(figure: Any, path: Path, **_settings: Any) -> None:
    """Drawing would take half of the time of most victims, and its moments are as those of any other computation."""
    path.write_text("<?xml?><svg></svg>")


@dataclass(frozen=True)
class Whole:
    """Files, operations, writes and seconds of a victim that nothing stops."""

    files: dict[str, str]
    operations: int
    writes: int
    seconds: float


def undisturbed(server: Server, name: str, folder: Path) -> Whole:
    """What a victim does that nothing stops, kept in a file. Two of them must end on equal files."""
    kept = folder / "whole.json"
    if kept.exists():
        return Whole(**json.loads(kept.read_text()))
    found, seconds, counts = [], 0.0, [0, 0]
    for number in range(2):
        out = folder / f"whole-{number}"
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        if server.run(name, out):
            sys.exit(f"{name} fails undisturbed; see {server.work / 'log.txt'}")
        seconds, counts = time.monotonic() - started, [int(n) for n in (server.work / "count").read_text().split()]
        found.append(snapshot(out))
    different = differences(*found)
    if different:
        sys.exit(f"{name}: two undisturbed runs differ in {different}")
    whole = Whole(found[0], *counts, seconds)
    kept.write_text(json.dumps(asdict(whole)))
    return whole


def killed_states(server: Server, name: str, folder: Path) -> tuple[list[Path], list[Path]]:
    """The folder of a victim as kills at its operations leave it, each that differs from all before; kept.

    Second, those that differ only in the content of temporary files.
    """
    kept, partial, out = folder / "states", folder / "states.partial", folder / "hit"
    if not kept.exists():
        for path in (partial, out):
            shutil.rmtree(path, ignore_errors=True)
        known: set[frozenset[tuple[str, bytes]]] = set()
        for number, _ in enumerate(server.stops(name, out)):
            content = {
                str(path.relative_to(out)): _sha256(path.read_bytes()) if path.is_file() else b""
                for path in out.rglob("*")
            }
            lasting = frozenset(
                (file[: at.end()], b"") if (at := TEMPORARY.search(file)) else (file, digest)
                for file, digest in content.items()
            )
            whole = frozenset(content.items())
            kind = "temporary" if lasting in known else "operation"
            if whole not in known:
                known |= {whole, lasting}
                shutil.copytree(out, partial / kind / f"{number:05}")
        partial.rename(kept)
    return sorted(kept.glob("operation/*")), sorted(kept.glob("temporary/*"))


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))


def random_kill(server: Server, name: str, after: float) -> Damage:
    def damage(out: Path) -> list[str]:
        status = server.killed(name, out, after)
        return [] if status in (0, -signal.SIGKILL) else [f"status {status}"]

    return damage


def full_disk(server: Server, name: str, write: int) -> Damage:
    def damage(out: Path) -> list[str]:
        status, error = server.run(name, out, write, FULL), server.error()
        wrong = [] if status in (0, 2) else [f"status {status}"]
        return wrong if status != 2 or "No space left on device" in error else [*wrong, error]

    return damage


def left_by_kill(state: Path) -> Damage:
    def damage(out: Path) -> list[str]:
        shutil.copytree(state, out)
        return []

    return damage


def chosen(items: list[Any], most: int) -> list[Any]:
    """At most so many items (0: all), at random, in an order of which each beginning is spread evenly."""
    order = np.random.default_rng(0).permutation(len(items))
    return [items[index] for index in order[: most or len(items)]]


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


def hit(server: Server, name: str, folder: Path, whole: Whole, damage: Damage) -> list[str]:
    """What went wrong after a fault: none, if the rerun ends on the files of the undisturbed run."""
    out = folder / "hit"
    shutil.rmtree(out, ignore_errors=True)
    wrong = damage(out)
    status = server.run(name, out)
    if status:
        return [*wrong, f"rerun ends with {status}: {server.error() or 'log'}"]
    return [*wrong, *differences(whole.files, snapshot(out))]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--states", type=int, default=0, help="of each victim; 0: all")
    parser.add_argument("--full", type=int, default=0, help="full disks of each victim; 0: one at each write")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no new fault after this time")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ecgtune-crash")
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks/results/crash.json")
    options = parser.parse_args(arguments)
    stop = time.monotonic() + 60 * options.minutes
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    work = options.work / (commit or "no-commit")
    work.mkdir(parents=True, exist_ok=True)
    os.environ["ECGTUNE_CACHE"] = str(work / "cache")
    place = Place(work)
    server = Server(place, work, training=bool(set(options.victims) - READERS))
    for step in ("preparation", *(["trained"] if {"export", "prediction"} & set(options.victims) else [])):
        if server.run(step, work / "inputs"):
            sys.exit(f"see {work / 'log.txt'}")
    done = Done(work / "done.jsonl")
    rows: dict[str, Any] = {}
    wholes: dict[str, Whole] = {}
    # Of each kind one fault of every victim, then the next: a call that is stopped has met all victims alike.
    faults: list[tuple[int, int, str, str, Damage]] = []
    for number, name in enumerate(options.victims):
        whole = wholes[name] = undisturbed(server, name, work / name)
        kills = options.kills // len(options.victims) + (number < options.kills % len(options.victims))
        after = np.random.default_rng(number).uniform(0, whole.seconds, kills).tolist()
        states, temporary = killed_states(server, name, work / name)
        damages = [
            [(f"after {seconds:.6f} s", random_kill(server, name, seconds)) for seconds in after],
            [(f"state {state.name}", left_by_kill(state)) for state in chosen(states, options.states)],
            [
                (f"write {at}", full_disk(server, name, at))
                for at in chosen(list(range(1, whole.writes + 1)), options.full)
            ],
            [(f"state {state.name}", left_by_kill(state)) for state in chosen(temporary, options.states)],
        ]
        rows[name] = {"operations": whole.operations, "seconds": round(whole.seconds, 2)}
        for order, (kind, found) in enumerate(zip(KINDS, damages, strict=True)):
            rows[name][kind] = {"planned": len(found), "faults": 0, "same bytes": 0}
            faults += [(order, index, name, *fault) for index, fault in enumerate(found)]
    for order, _, name, label, damage in sorted(faults, key=lambda fault: fault[:2]):
        kind, key = KINDS[order], f"{name} {KINDS[order]} {label}"
        if key not in done.results:
            if time.monotonic() > stop:
                continue
            done.add(key, hit(server, name, work / name, wholes[name], damage))
        wrong = done.results[key]
        rows[name][kind]["faults"] += 1
        rows[name][kind]["same bytes"] += not wrong
        if wrong:
            rows[name].setdefault("wrong", []).append([kind, label, [text.replace(f"{work}/", "") for text in wrong]])
            print(f"{name}, {kind} {label}: {wrong}", flush=True)
    total = {
        kind: {key: sum(row[kind][key] for row in rows.values()) for key in ("planned", "faults", "same bytes")}
        for kind in KINDS
    }
    from machines import write_result

    return write_result(options.result, {"commit": commit, "total": total, "victims": rows})


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
