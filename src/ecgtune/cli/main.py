"""The command line: flags into calls of `ecgtune.workflows`. Commands import their rooms, so that --help is quick."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from ecgtune import __version__
from ecgtune.cli.data import data as data_commands
from ecgtune.cli.flags import given, optional
from ecgtune.cli.inputs import Reading, RecordFlags, RoundFlags, read_data
from ecgtune.cli.settings import OptimisationFlags, RecipeFlags, TrainerFlags
from ecgtune.config.commands import PretrainSettings
from ecgtune.errors import EcgtuneError, SettingError
from ecgtune.recipe.pretraining import Crops, load_pretraining_recipe
from ecgtune.recipe.recipe import list_recipes, load_recipes

if TYPE_CHECKING:
    CropFlags = Crops
else:
    CropFlags = optional(Crops, "CropFlags")

app = App(
    name="ecgtune",
    help="Fine-tune pretrained ECG encoders with a few percent of their weights, and prove that it worked.",
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # `main` says how to go on
)
app.command(data_commands)
app.command("ecgtune.cli.plan:plan", name="plan")
app.command("ecgtune.cli.predict:predict", name="predict")
app.command("ecgtune.cli.sweep:sweep", name="sweep")


@app.command
def compare(
    data: Path,
    /,
    *,
    methods: str = "full,adapter,lora,probe",
    seeds: int = 3,
    out: Path = Path("runs/compare"),
    baselines: Annotated[bool, Parameter(negative="--no-baselines")] = True,
    reference: str | None = None,
    rounds: RoundFlags = RoundFlags(),
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    quiet: bool = False,
) -> None:
    """Compare methods on one file of windows: a table, figures, one report, and a run folder per method and seed.

    Run it again to go on where it was stopped; finished runs are kept.

    Parameters
    ----------
    data
        CSV (signal_0 ... signal_599,label) or NPZ file of windows; with --records the table of labels.
    methods
        Names of methods and recipes, or TOML files, joined by commas; see `ecgtune methods`.
    seeds
        Runs of each method, with seeds 0, 1, ...
    out
        Folder of the comparison.
    baselines
        Add the majority class and a residual network from scratch.
    reference
        Method that the differences are taken to: full, or the first one, when not given.
    quiet
        Show no progress.
    """
    import ecgtune
    from ecgtune.workflows.cross_validation import rounds_table

    recipes = settings.recipes(methods, reading)
    dataset = read_data(data, reading, records, [recipe.model.name for recipe in recipes], quiet=quiet)
    repeated = rounds.of(dataset, seed=recipes[0].data.split_seed)
    if repeated:
        summary = ecgtune.cross_validate(
            repeated, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, quiet=quiet
        )
        print(rounds_table(summary))
        print(f"{len(repeated)} rounds, mean ± standard deviation over them: {out / 'rounds.json'}")
        return
    results = ecgtune.compare(
        dataset, recipes, out=out, seeds=seeds, baselines=baselines, reference=reference, quiet=quiet
    )
    _show(results, out)


@app.command
def train(
    data: Path,
    /,
    *,
    method: str = "lora",
    out: Path | None = None,
    resume: bool = False,
    seed: int = 0,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    settings: RecipeFlags = RecipeFlags(),
    quiet: bool = False,
) -> None:
    """Fine-tune one model with one method.

    Parameters
    ----------
    data
        CSV (signal_0 ... signal_599,label) or NPZ file of windows; with --records the table of labels.
    method
        Name of a method or recipe, or a TOML file; see `ecgtune methods`.
    out
        The run folder; runs/METHOD when not given.
    resume
        Continue the run that stands in the folder.
    seed
        Seed of the head, the method's new weights, the order of windows and dropout.
    quiet
        Show no progress.
    """
    import ecgtune

    recipes = settings.recipes(method, reading)
    if len(recipes) > 1:
        raise SettingError(f"{method} holds {len(recipes)} variants; run it with `ecgtune compare --methods {method}`")
    recipe = recipes[0]
    folder = out or Path("runs") / recipe.name
    dataset = read_data(data, reading, records, [recipe.model.name], quiet=quiet)
    run = ecgtune.fine_tune(dataset, recipe, out=folder, seed=seed, resume=resume, quiet=quiet)
    print(run.summary())
    print(f"report: {folder / 'report.html'}")


@app.command
def pretrain(
    recordings: Path,
    /,
    *,
    recipe: str = "pretrain-tiny",
    leave_out: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    seed: int = 0,
    sampling_rate: float | None = None,
    export_float16: bool = False,
    crops: CropFlags = CropFlags(),
    optimisation: OptimisationFlags = OptimisationFlags(),
    trainer: TrainerFlags = TrainerFlags(),
    quiet: bool = False,
) -> None:
    """Pretrain an encoder on recordings without labels; give the folder RUN/best to --model afterwards.

    Parameters
    ----------
    recordings
        NPZ file (signal, offset, record, sampling_rate), its packed form NAME_index.npz, or a folder of recordings.
    recipe
        pretrain-tiny, pretrain-tiny-contrastive, or a TOML file.
    leave_out
        NPZ file of windows; recordings that stand in its val and test split are not used.
    out
        The run folder; runs/RECIPE when not given.
    resume
        Continue the run that stands in the folder.
    seed
        Seed of weights, crops, masks and the order of an epoch.
    sampling_rate
        Sampling rate of the recordings in Hz; needed unless the file holds it.
    export_float16
        Write the encoder in half precision too, RUN/float16.
    quiet
        Show no progress.
    """
    import ecgtune

    asked = load_pretraining_recipe(recipe)
    asked = replace(
        asked,
        crops=replace(asked.crops, **given(crops)),
        optimisation=replace(asked.optimisation, **given(optimisation)),
        trainer=replace(asked.trainer, **given(trainer)),
    )
    best = ecgtune.pretrain(
        recordings,
        asked,
        PretrainSettings(leave_out=leave_out, sampling_rate=sampling_rate, export_float16=export_float16),
        out=out or Path("runs") / asked.name,
        seed=seed,
        resume=resume,
        quiet=quiet,
    )
    print(f"encoder: {best}")
    print(f"report: {best.parent / 'report.html'}")


@app.command
def demo(*, out: Path = Path("runs/demo"), quiet: bool = False) -> None:
    """Compare four methods on simulated ECGs with the embedded encoder, in a few minutes on a laptop.

    Parameters
    ----------
    out
        Folder of the comparison.
    quiet
        Show no progress.
    """
    from ecgtune.workflows.demo import demo as run_demo

    _show(run_demo(out, quiet=quiet), out)


@app.command
def convert(checkpoint: Path, out: Path, /, *, heads: int | None = None) -> None:
    """Read an official ECG-FM .pt file safely and write its model's weights as safetensors plus model.json.

    Parameters
    ----------
    checkpoint
        The .pt file.
    out
        A new folder.
    heads
        Attention heads of a model of unpublished size.
    """
    from ecgtune.models.checkpoint import convert as convert_checkpoint

    convert_checkpoint(checkpoint, out, heads=heads)
    print(f"converted: {out}")


@app.command
def simulate(out: Path, /, *, windows: int = 2000, sampling_rate: float = 100.0, seed: int = 0) -> None:
    """Write a CSV of simulated one-lead windows: sinus rhythm (0) and atrial fibrillation (1).

    Parameters
    ----------
    out
        The CSV file.
    windows
        Number of windows of 6 s.
    sampling_rate
        Sampling rate in Hz.
    seed
        Same seed, same windows.
    """
    from ecgtune.data.simulation import simulate as simulate_windows
    from ecgtune.io.writing import write_csv

    write_csv(simulate_windows(windows, sampling_rate=sampling_rate, seed=seed), out)
    print(f"wrote {windows} windows at {sampling_rate:g} Hz: {out}")


@app.command
def models(pattern: str = "*", /) -> None:
    """List the encoders that are known by name.

    Parameters
    ----------
    pattern
        Only names that match, such as "*fm*".
    """
    from ecgtune.models.registry import list_models

    print("\n".join(list_models(pattern)))


@app.command
def methods() -> None:
    """List the methods and recipes that --method and --methods take by name."""
    for name in list_recipes():
        for recipe in load_recipes(name):
            print(f"{name:24}{recipe.label}")
    print("With --lead-adapter each also trains a small mixer of the recorded leads in front of the encoder.")


def main(tokens: list[str] | None = None) -> None:
    """Run the command line. A problem that the user can repair is one line on stderr and exit status 2."""
    errors = Console(stderr=True)
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (EcgtuneError, CycloptsError) as error:
        line = " ".join(str(error).split())
        errors.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print(
            "stopped; compare, sweep and data get go on when they are run again, train and pretrain with --resume",
            markup=False,
        )
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone (`ecgtune methods | head -1`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(results: dict[str, Any], out: Path) -> None:
    from ecgtune.reporting.tables import terminal_table

    console = Console()
    console.print(terminal_table(results, console.width))
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    main()
