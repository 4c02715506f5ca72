"""The table of commands, each of which is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """Where a command is defined ("module:function", or an app with subcommands), and its line in the help."""

    target: str
    summary: str


COMMANDS = {
    "auto": Command("ecgtune.cli.auto:auto", "From files to a model: look, decide, train, choose and hand over."),
    "compare": Command("ecgtune.cli.compare:compare", "Compare methods on one dataset: a table, figures and a report."),
    "fine-tune": Command("ecgtune.cli.fine_tune:fine_tune", "Fine-tune one encoder with one method."),
    "sweep": Command("ecgtune.cli.sweep:sweep", "Search settings, with the same number of trials for every method."),
    "plan": Command("ecgtune.cli.plan:plan", "Estimate time, memory and disk space of a comparison."),
    "predict": Command("ecgtune.cli.predict:predict", "Predict new signals with a finished run or an exported file."),
    "evaluate": Command(
        "ecgtune.cli.evaluate:evaluate", "Evaluate a finished run on another data set, beside its own test split."
    ),
    "stress": Command("ecgtune.cli.stress:stress", "Measure a finished run on disturbed windows."),
    "export": Command("ecgtune.cli.export:export", "Export a run as one file that needs no torch, and verify it."),
    "explain": Command(
        "ecgtune.cli.explain:explain",
        "Draw a window on ECG paper, with its most influential stretches.",
    ),
    "report": Command(
        "ecgtune.cli.report:report", "Write the report of a run or comparison again, or a reviewer's pack."
    ),
    "verify": Command("ecgtune.cli.verify:verify", "Verify an exported file on this machine."),
    "page": Command("ecgtune.cli.page:page", "Write a model as one HTML page that reads ECGs in a browser, offline."),
    "serve": Command("ecgtune.cli.serve:serve", "Serve finished runs and exported files over HTTP."),
    "pretrain": Command("ecgtune.cli.pretrain:pretrain", "Pretrain an encoder on recordings without labels."),
    "convert": Command("ecgtune.cli.convert:convert", "Convert a published checkpoint file to safetensors."),
    "simulate": Command("ecgtune.cli.simulate:simulate", "Write a CSV of simulated one-lead windows."),
    "demo": Command("ecgtune.cli.demo:demo", "Compare four methods on simulated ECGs in a few minutes."),
    "data": Command("ecgtune.cli.data:app", "Download public databases, check recordings, and compare data sets."),
    "models": Command("ecgtune.cli.models:models", "List the encoders that are known by name."),
    "methods": Command("ecgtune.cli.methods:methods", "List methods and recipes."),
}


def load(name: str) -> Any:
    """The function of a command, or its app with subcommands."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    return getattr(import_module(module), attribute)
