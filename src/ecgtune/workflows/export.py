"""Export a finished run as one file that verifies itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ecgtune.config.base import check_settings
from ecgtune.config.commands import ExportSettings
from ecgtune.errors import SettingError
from ecgtune.runtime.predictor import Predictor
from ecgtune.runtime.verification import Verified
from ecgtune.utils.locks import one_writer
from ecgtune.workflows.environment import command_line

DEFAULTS = ExportSettings()


def export(
    run: Predictor | str | Path | Iterable[str | Path], path: str | Path, settings: ExportSettings = DEFAULTS
) -> Verified:
    """Write a run as the file `path`, from raw windows to probabilities, and return how it was verified.

    path: `.onnx`, or `.pte` for a program of ExecuTorch, in float32 for single windows of the training's length.

    run: a run folder, several of an ensemble, or the result of `load_run`. The file holds resampling, normalisation,
    lead mixer, encoder with its method and head; of an ensemble those of each run, and it gives the mean of their
    probabilities, without a novelty score. As metadata it has labels, thresholds, signal path, checksums and the
    verification, which is written beside it as `<name>.verification.json` too. `ecgtune.predict` and
    `ecgtune.runtime.Model` take it, and need no torch. The metadata of a program are what its method `ecgtune` returns;
    its verification states its sha256.

    The file is compared with the run on the run's own test windows. Raises VerificationError, and writes nothing, where
    float32 probabilities differ by more than 1e-5, int8 changes more than 0.5 % of the decisions or loses more than
    0.002 of AUROC, or the novelty differs by more than 0.001 (int8: 0.1). Raises SettingError, DataError or RunError,
    one line each, before any computation.
    """
    check_settings(settings, ExportSettings)
    path = Path(path)
    if path.suffix not in (".onnx", ".pte"):
        named = f"{path.with_suffix('.onnx').name}, or .pte for ExecuTorch"
        raise SettingError(f"{path}: an exported file is named .onnx, such as {named}")
    if path.suffix == ".pte" and settings.int8:
        raise SettingError(
            f"{path}: a program of ExecuTorch has weights in float32; leave --int8 out, or name it .onnx"
        )
    if path.is_dir():
        raise SettingError(f"{path} is a folder; give the name of a file")
    from ecgtune.deployment.export import export_run
    from ecgtune.deployment.run import Ensemble, Run, load_run
    from ecgtune.deployment.verification import verification_windows

    loaded = run if isinstance(run, Predictor) else load_run(run)
    if not isinstance(loaded, (Run, Ensemble)):
        raise SettingError("it is an exported file already; give the folder of a run")
    verify = None if settings.verify is None else Path(settings.verify)
    windows = verification_windows(loaded, verify, settings.verify_windows)
    with one_writer(path, command_line()):
        return export_run(loaded, path, windows, int8=settings.int8, sampling_rate=settings.rate)
