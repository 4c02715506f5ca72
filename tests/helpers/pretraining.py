"""Recordings and pretrainings so small that a real training takes a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.recipes.pretraining import ContrastiveTask, Crops, EncoderSizes, MaskedTeacherTask, Pretraining

SIZES = EncoderSizes(
    width=32, depth=2, heads=2, feed_forward=64, conv_channels=16, conv_layers=3, pos_taps=8, pos_groups=4
)
LOOP = Optimisation(epochs=3, batch_size=16, learning_rate=2e-3, checkpoint_metric="last")
TRAINER = TrainerSettings(device="cpu", precision="fp32")
TEACHER = Pretraining(
    "teacher",
    objective=MaskedTeacherTask(masks=2, decoder_layers=2, decoder_width=32, decoder_groups=4, visible_span=3),
    encoder=SIZES,
    crops=Crops(window_seconds=2.0, val_fraction=0.2, time_stretch=0.1, gain=0.1, wander=0.1, noise=0.1),
    optimisation=LOOP,
    trainer=TRAINER,
)
CONTRASTIVE = Pretraining(
    "contrastive",
    objective=ContrastiveTask(mask_span=4, negatives=10, codes=16, code_width=16, final_width=16),
    encoder=SIZES,
    crops=Crops(window_seconds=2.0, val_fraction=0.2),
    optimisation=replace(LOOP, batch_size=8),
    trainer=TRAINER,
)
RHYTHM = replace(
    TEACHER,
    name="rhythm",
    objective=replace(TEACHER.objective, rhythm=1.0),
    crops=replace(TEACHER.crops, window_seconds=4.0),
    optimisation=replace(LOOP, batch_size=8),
    trainer=TRAINER,
)
RHYTHM_ALONE = replace(RHYTHM, name="rhythm-alone", objective=replace(RHYTHM.objective, masks=0))
RECIPES = [TEACHER, CONTRASTIVE, RHYTHM, RHYTHM_ALONE]


def beats(seconds: float, rate: float, seed: int) -> np.ndarray:
    """A spike train of its own rate and shape with a little noise, int16."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phase = time * generator.uniform(0.8, 2) + generator.random()
    wave = np.exp(-(((phase % 1) - 0.3) ** 2) / 0.002) + 0.3 * np.exp(-(((phase % 1) - 0.6) ** 2) / 0.01)
    return (1000 * wave + 20 * generator.standard_normal(len(time))).astype(np.int16)


def peaks_of_beats(seconds: float, rate: float, seed: int) -> np.ndarray:
    """Where the tall waves of `beats` stand, in samples (not whole)."""
    generator = np.random.default_rng(seed)
    hertz, phase = generator.uniform(0.8, 2), generator.random()
    time = (np.arange(np.ceil(2 * seconds) + 2) + 0.3 - phase) / hertz
    return time[(time >= 0) & (time <= seconds - 1 / rate)] * rate


def write_recordings(
    path: Path, signals: list[np.ndarray] | None = None, names: list[str] | None = None, **others: object
) -> Path:
    """An archive of recordings; twelve of 20 s at 100 Hz, when none are given. A value of None leaves its key out."""
    if signals is None:
        signals = [beats(20, 100, seed) for seed in range(12)]
    arrays = {
        "signal": np.concatenate(signals, axis=-1),
        "offset": np.concatenate([[0], np.cumsum([signal.shape[-1] for signal in signals])]),
        "record": np.array(names or [f"R{number:02}" for number in range(len(signals))]),
        "sampling_rate": 100,
    } | others
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path
