"""What the study runs, in one frozen table. The harness takes it as a value, so a test can run a small one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ecgtune.config.data import DataSettings
from ecgtune.config.model import ModelSettings
from ecgtune.config.space import Around, Choice
from ecgtune.recipe.recipe import Recipe, load_recipes
from ecgtune.recipe.space import Changes, with_settings

REFERENCE, FLOOR = "full", "resnet"
#: Full fine-tuning as published: what tuned methods are often compared with elsewhere.
PUBLISHED = "paper-full"
#: The package's recipes as they were before the study: what a sweep begins with. The package's own follow its outcome.
BEFORE = Path(__file__).parent / "before"
#: What every training of the study has that is not a probe's.
SMOOTHED: Mapping[str, Any] = {"optimisation.ema": 0.998, "optimisation.label_smoothing": 0.1}
AUGMENTED: Mapping[str, Any] = {
    "augmentation.shift": 0.1,
    "augmentation.time_stretch": 0.05,
    "augmentation.polarity_flip": 0.5,
    "augmentation.gain": 0.2,
    "augmentation.wander": 0.1,
    "augmentation.noise": 0.05,
}
NOT_AUGMENTED: Mapping[str, Any] = {**dict.fromkeys(AUGMENTED, 0.0), "augmentation.augmented_copies": None}


@dataclass(frozen=True)
class Loop:
    """How long finals train at a share of the labels: fewer labels need more passes to make as many steps."""

    epochs: int
    batch_size: int


@dataclass(frozen=True)
class Part:
    """A part of a recipe whose effect is measured: `changed`, and nothing else, in the tuned recipes of `of`."""

    name: str
    title: str
    changed: Mapping[str, Any]
    of: tuple[str, ...] = (REFERENCE, "lora")


PARTS = (
    Part("no-ema", "without averaged weights", {"optimisation.ema": None}),
    Part("no-smoothing", "without label smoothing", {"optimisation.label_smoothing": 0.0}),
    Part("no-augmentation", "without augmentation", NOT_AUGMENTED, (REFERENCE, "lora", "side")),
    Part(
        "fresh",
        "with fresh windows in every epoch, nothing computed once",
        {"augmentation.augmented_copies": None},
        ("side",),
    ),
    Part("no-sign", "without inverted windows", {"augmentation.polarity_flip": 0.0}),
    Part("no-noise", "without noise and wander", {"augmentation.noise": 0.0, "augmentation.wander": 0.0}),
    Part("crop", "with random crops of 80 %", {"augmentation.crop": 0.8}),
    Part(
        "best-epoch",
        "with the epoch of the highest validation AUROC, not the last",
        {"optimisation.checkpoint_metric": "auroc"},
    ),
    Part(
        "best-loss",
        "with the epoch of the lowest validation loss, not the last",
        {"optimisation.checkpoint_metric": "loss"},
    ),
    Part("constant", "with a constant rate, no warm-up", {"optimisation.schedule": "constant"}),
    Part("head-first", "with two epochs of the head alone first", {"optimisation.head_epochs": 2}),
    Part("head-rate", "with five times the rate for the head", {"optimisation.head_rate_factor": 5.0}),
    Part("layer-decay", "with 0.75 of the rate from layer to layer", {"optimisation.layer_decay": 0.75}, (REFERENCE,)),
    Part("drop-path", "with stochastic depth of 0.1", {"optimisation.drop_path": 0.1}),
    Part("mean", "with the mean of the tokens", {"model.pooling": "mean"}),
    Part("attention", "with attention pooling", {"model.pooling": "attention"}),
    Part("mix", "with a learned mix of all layers", {"method.layers": "mix"}, ("probe",)),
)


@dataclass(frozen=True)
class Study:
    """Every setting of the study.

    methods: recipes that are swept. sizes and space: what the sweep begins with and tries in the place of the recipes'
    own, so that no method of the encoder at hand trains more than 3.26 % of the weights but those that cannot do with
    less (full, top-layers). loops: of the finals by share of the labels; own_loops: of those that have further to
    go, or that go there at less cost. All finals keep the last epoch: few labels leave few validation windows, and the
    best by those is a matter of chance. care: settings of all of them but those in `plain`; those in `once`
    see so many augmented copies of each window in turn, so that the encoder is run but once for each, and in finals as
    many as own_views says: none, but fresh windows, where what the encoder makes of all of them is too much to keep.
    precision: of all trainings: where a machine emulates bf16, they take several times as long.
    trials of each method, of trial_epochs on trial_share of the labels. finalists: how many are taken to the finals by
    validation AUROC beside `always`. ensembles: of a method and changes to what was found for it, taken to the finals
    too; no trials are theirs. default: what `ecgtune fine-tune` takes as long as no method has won. presets: recipes
    as published, on the encoder of the study; changes: what is changed in them, step upon step; parts: what is changed
    in tuned recipes, one by one; both at parts_share of the labels of the first task and with change_seeds of the
    seeds. thresholds: by task, where half is no good cut because one class is rare. references: what each method is
    compared with; rivals: one more for some. metrics,
    margin, resamples: of the statistics.
    """

    model: str = "ecg-fm-tiny"
    pooling: str = "statistics"
    precision: str = "bf16"
    device: str = "cpu"
    methods: tuple[str, ...] = (
        *("full", "lora", "rslora", "dora", "pissa", "lora-plus", "adalora", "adapter", "side"),
        *("top-layers", "norm-bias", "ia3", "vera", "oft", "probe"),
    )
    sizes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"lora": {"method.rank": 4}, "adapter": {"method.width": 16}}
    )
    space: Changes = field(
        default_factory=lambda: {
            "lora": {"method.rank": Choice((2, 3, 4))},
            "adapter": {"method.width": Choice((8, 16, 20))},
            "side": {
                "method.width": Choice((16, 20, 24, 28)),
                "method.dropout": Choice((0.0, 0.2, 0.4)),
                # Above, it is worse in short trainings and in long ones: side_rates.py.
                "optimisation.learning_rate": Around(2.5),
            },
            "top-layers": {"method.layers": None},
            "oft": {"method.block": Choice((8, 16))},
        }
    )
    care: Mapping[str, Any] = field(default_factory=lambda: {**SMOOTHED, **AUGMENTED})
    plain: tuple[str, ...] = ("probe",)
    once: Mapping[str, int] = field(default_factory=lambda: {"side": 2})
    trials: int = 8
    trial_epochs: int = 3
    trial_share: float = 0.2
    trial_batch: int = 64
    finalists: int = 2
    ensembles: Mapping[str, tuple[str, Mapping[str, Any]]] = field(
        default_factory=lambda: {"lora-ensemble": ("lora", {"method.rank": 1, "model.members": 3})}
    )
    default: str = "lora"
    always: tuple[str, ...] = (REFERENCE, "lora", "side", "probe")
    seeds: int = 5
    change_seeds: int = 3
    loops: Mapping[float, Loop] = field(default_factory=lambda: {0.01: Loop(5, 16), 0.1: Loop(4, 32), 1.0: Loop(4, 64)})
    own_loops: Mapping[str, Mapping[float, Loop]] = field(
        default_factory=lambda: {
            FLOOR: {0.01: Loop(60, 16), 0.1: Loop(40, 32), 1.0: Loop(14, 64)},
            "probe": {0.01: Loop(20, 16), 0.1: Loop(20, 32), 1.0: Loop(20, 64)},
            "side": {0.01: Loop(5, 16), 0.1: Loop(12, 32), 1.0: Loop(8, 64)},
        }
    )
    own_views: Mapping[str, Mapping[float, int | None]] = field(
        default_factory=lambda: {"side": {0.01: 6, 0.1: 6, 1.0: None}}
    )
    tasks: tuple[str, ...] = ("abnormal", "fibrillation")
    presets: tuple[str, ...] = (PUBLISHED, "paper-adapter", "paper-lora")
    changes: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("head", "linear head on statistics of the tokens", {"model.head_hidden": None, "model.pooling": "statistics"}),
        (
            "loop",
            "AdamW, warm-up and cosine, clipping",
            {
                "optimisation.optimizer": "adamw",
                "optimisation.weight_decay": 0.01,
                "optimisation.schedule": "cosine",
                "optimisation.max_grad_norm": 1.0,
            },
        ),
        ("care", "averaged weights, label smoothing, augmentation", {**SMOOTHED, **AUGMENTED}),
        ("rate", "the learning rate that the sweep found", {}),
    )
    parts: tuple[Part, ...] = PARTS
    parts_share: float = 0.1
    references: tuple[str, ...] = (REFERENCE, PUBLISHED, "probe", FLOOR)
    rivals: Mapping[str, str] = field(
        default_factory=lambda: dict.fromkeys(("dora", "side", "oft", "lora-ensemble"), "lora")
    )
    metrics: tuple[str, ...] = ("accuracy", "f1", "auroc")
    thresholds: Mapping[str, Literal["fixed", "f1", "youden"]] = field(default_factory=lambda: {"fibrillation": "f1"})
    margin: float = 0.005
    resamples: int = 2000

    def swept(self, name: str) -> Recipe:
        """The recipe that a sweep of `name` begins with."""
        recipe = self._on_encoder(load_recipes(str(BEFORE / f"{name}.toml"))[0], self.pooling)
        recipe = with_settings(recipe, self.sizes.get(recipe.method.name, {}))
        recipe = with_settings(recipe, self.care_of(name))
        loop = replace(recipe.optimisation, epochs=self.trial_epochs, batch_size=self.trial_batch)
        return replace(recipe, optimisation=loop, data=DataSettings(label_fraction=self.trial_share))

    def care_of(self, name: str) -> Mapping[str, Any]:
        """What `care` is for a method."""
        if name in self.plain:
            return {}
        return {**self.care, "augmentation.augmented_copies": self.once[name]} if name in self.once else self.care

    @property
    def compared(self) -> tuple[str, ...]:
        """All that may stand in the finals as a method of its own, in the order of tables and figures."""
        return (*self.methods, *self.ensembles)

    def ensembled(self, found: Mapping[str, Recipe]) -> dict[str, Recipe]:
        """The ensembles of those methods whose tuned recipes are `found`."""
        return {
            name: replace(with_settings(found[method], changed), name=name)
            for name, (method, changed) in self.ensembles.items()
            if method in found
        }

    def preset(self, name: str, rate: float | None) -> dict[str, Recipe]:
        """A preset, and under NAME+STEP each change on top of those before it; `rate` is what the sweep found."""
        recipe = self._on_encoder(load_recipes(name)[0], "mean")
        made = {name: recipe}
        for step, title, changed in self.changes:
            if step == "rate" and rate is None:
                break
            recipe = with_settings(recipe, {"optimisation.learning_rate": rate} if step == "rate" else changed)
            made[f"{name}+{step}"] = replace(recipe, title=f"+ {title}")
        return made

    def with_parts(self, name: str, tuned: Recipe) -> dict[str, Recipe]:
        """Under NAME+PART the tuned recipe with each part that is measured on it, one by one."""
        return {
            f"{name}+{part.name}": replace(with_settings(tuned, part.changed), title=f"{name} {part.title}")
            for part in self.parts
            if name in part.of
        }

    def references_of(self, method: str) -> tuple[str, ...]:
        """What a method is compared with: a part's also with its tuned method, a step with the one before it, and its
        rival.
        """
        name, _, part = method.partition("+")
        own = [name if part and name in self.methods else self.rivals.get(method), self.step_before(method)]
        return tuple(dict.fromkeys((*self.references, *(other for other in own if other))))

    def steps(self, preset: str) -> list[str]:
        """A preset, the changes to it step upon step, and the tuned method at their end, by name in the finals."""
        return [preset, *(f"{preset}+{step}" for step, _, _ in self.changes), preset.removeprefix("paper-")]

    def step_before(self, method: str) -> str | None:
        """What a step is one change away from; None for what is no step."""
        for steps in (self.steps(preset) for preset in self.presets):
            if method in steps[1:]:
                return steps[steps.index(method) - 1]
        return None

    def seeds_of(self, name: str) -> range:
        """The seeds of a run of the finals: fewer for NAME+STEP and NAME+PART, of which there are many."""
        return range(min(self.seeds, self.change_seeds) if "+" in name else self.seeds)

    def floor(self) -> Recipe:
        """The small network from scratch, with the same care."""
        recipe = with_settings(load_recipes(FLOOR)[0], self.care)
        return replace(recipe, trainer=replace(recipe.trainer, precision=self.precision, device=self.device))

    def final(self, recipe: Recipe, name: str, task: str, share: float, seed: int) -> Recipe:
        """The recipe as one run of the finals: threshold by task, loop by share of the labels, split by seed."""
        method, _, part = name.partition("+")
        base, _ = self.ensembles.get(method, (method, {}))
        loop = self.own_loops.get(base, self.loops)[share]
        changed = next((one.changed for one in self.parts if one.name == part), {})
        threshold = self.thresholds.get(task, "fixed")
        augmentation = recipe.augmentation
        if base in self.own_views and "augmentation.augmented_copies" not in changed:
            augmentation = replace(augmentation, augmented_copies=self.own_views[base][share])
        optimisation = replace(
            recipe.optimisation,
            epochs=loop.epochs,
            batch_size=loop.batch_size,
            checkpoint_metric=changed.get("optimisation.checkpoint_metric", "last"),
        )
        return replace(
            recipe,
            name=name.replace("+", "-"),
            data=DataSettings(split_seed=seed, label_fraction=share),
            optimisation=optimisation,
            augmentation=augmentation,
            evaluation=replace(recipe.evaluation, threshold=threshold),
        )

    def _on_encoder(self, recipe: Recipe, pooling: str) -> Recipe:
        model: ModelSettings = replace(recipe.model, name=self.model)
        if recipe.model.head_hidden is None:
            model = replace(model, pooling=pooling)
        trainer = replace(recipe.trainer, precision=self.precision, device=self.device)
        return replace(recipe, model=model, trainer=trainer)


def tuned(results: Path) -> dict[str, Recipe]:
    """The best recipe of each method, as the sweep left them beside its trials."""
    return {file.stem: load_recipes(str(file))[0] for file in sorted((results / "best").glob("*.toml"))}
