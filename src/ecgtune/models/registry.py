"""Encoders by name: architectures, and the weights that are known for them.

Each folder of this package registers its own; third-party packages do so through the entry points `ecgtune.encoders`,
and a user's file through `--import` (`ecgtune.utils.extensions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import torch

from ecgtune.errors import CheckpointError, SettingError
from ecgtune.models.architectures import ARCHITECTURES, find_architecture
from ecgtune.models.base import Checkpoint, Encoder, EncoderConfig
from ecgtune.models.checkpoint import load_checkpoint, load_named, read_config
from ecgtune.models.hub import download
from ecgtune.models.layers import without_values
from ecgtune.models.names import MODELS, NamedModel, built_in, model_names
from ecgtune.models.weights import Weights

E = TypeVar("E", bound=type[Encoder])


class WeightSource(Protocol):
    """Where the weights of a named encoder come from; `description` says it in a few words."""

    @property
    def description(self) -> str: ...

    def config(self, architecture: type[Encoder]) -> EncoderConfig:
        """Sizes of the encoder."""
        ...

    def load(self, name: str, architecture: type[Encoder], leads: tuple[str, ...] | None, seed: int) -> Checkpoint:
        """The encoder with its weights; `leads` and `seed` matter to random ones only."""
        ...


@dataclass(frozen=True)
class RandomWeights:
    """Weights drawn from the training's seed.

    sizes: of the encoder; without them those of its default configuration, with one input channel per lead of the
    signal.
    """

    sizes: Callable[[], EncoderConfig] | None = None
    description: str = "random"

    def config(self, architecture: type[Encoder]) -> EncoderConfig:
        return architecture.config_type() if self.sizes is None else self.sizes()

    def load(self, name: str, architecture: type[Encoder], leads: tuple[str, ...] | None, seed: int) -> Checkpoint:
        config = self.config(architecture)
        if self.sizes is None and leads is not None:
            config = replace(config, leads=leads)  # pyright: ignore[reportCallIssue, reportArgumentType]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which also seeds the GPU
            return Checkpoint(architecture(config), Weights("random", name, seed=seed))


@dataclass(frozen=True)
class BundledFolder:
    """Weights in a folder of the package, in the layout of `convert`."""

    folder: Path
    description: str = "bundled"

    def config(self, architecture: type[Encoder]) -> EncoderConfig:
        return read_config(self.folder, architecture)

    def load(self, name: str, architecture: type[Encoder], leads: tuple[str, ...] | None, seed: int) -> Checkpoint:
        found = load_checkpoint(self.folder)
        return replace(found, weights=replace(found.weights, source=name))  # not the place in this installation


@dataclass(frozen=True)
class PublishedWeights:
    """Published files of an encoder with these sizes; the first of `files` is loaded unless another one is named."""

    files: tuple[str, ...]
    sizes: EncoderConfig

    def config(self, architecture: type[Encoder]) -> EncoderConfig:
        return self.sizes

    def fetch(self, name: str) -> Path:
        """Path of the file that `name` means. Raises CheckpointError where it is not here and cannot be downloaded."""
        raise NotImplementedError

    def load(self, name: str, architecture: type[Encoder], leads: tuple[str, ...] | None, seed: int) -> Checkpoint:
        found = load_named(self.fetch(name), name, architecture, self.sizes)
        return replace(found, weights=replace(found.weights, source=name))  # not the place on this machine


@dataclass(frozen=True)
class HubRepository(PublishedWeights):
    """Files on the Hugging Face hub, which are downloaded where the cache does not hold them."""

    repository: str

    @property
    def description(self) -> str:
        return f"hub {self.repository}"

    def fetch(self, name: str) -> Path:
        asked = name.removeprefix(f"{self.repository}/")
        return download(self.repository, self.files[0] if asked == name else asked, self.files)

    def load(self, name: str, architecture: type[Encoder], leads: tuple[str, ...] | None, seed: int) -> Checkpoint:
        found = load_checkpoint(self.fetch(name))  # another file of the repository may have other sizes
        return replace(found, weights=replace(found.weights, source=name))


@dataclass(frozen=True)
class PublishedFile(PublishedWeights):
    """Files that are downloaded by hand from `place`."""

    place: str

    @property
    def description(self) -> str:
        return f"file {self.files[0]}"

    def fetch(self, name: str) -> NoReturn:
        raise CheckpointError(
            f"the weights of {name} are not downloaded by ecgtune; get {' or '.join(self.files)} from {self.place} and "
            f'give its path: load_model("{name}", checkpoint=PATH), or --checkpoint PATH'
        )


@dataclass(frozen=True)
class PackageFile(PublishedWeights):
    """Files in an installed package; they are read, and none of the package's code is run.

    package: its name, and that of the extra that installs it; `files` are paths in it.
    """

    package: str

    @property
    def description(self) -> str:
        return f"package {self.package}"

    def fetch(self, name: str) -> Path:
        found = find_spec(self.package)  # of a top-level package, which this does not import
        folders = [] if found is None else [Path(folder) for folder in found.submodule_search_locations or ()]
        files = [folder / self.files[0] for folder in folders]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            reason = "is not installed" if found is None else f"has no file {self.files[0]}"
            raise CheckpointError(
                f"the weights of {name} are in the package {self.package}, which {reason}; type: pip install "
                f"'ecgtune[{self.package}]', or give the path of the file: --checkpoint PATH"
            )
        return path


def published_weights(name: str, sizes: EncoderConfig) -> HubRepository | PublishedFile | PackageFile:
    """Source of the published weights of a model of this package, by its entry in `models.toml`."""
    facts = built_in()[name]
    if facts.repository is not None:
        return HubRepository(facts.files, sizes, facts.repository)
    if facts.package is not None:
        return PackageFile(facts.files, sizes, facts.package)
    return PublishedFile(facts.files, sizes, facts.place)


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a named encoder.

    parameters: number of weights. leads: empty for an encoder that takes the leads of the signal. sampling_rate: Hz.
    seconds: usual length of a window, None if unknown. source: where the weights come from. licence: of the weights;
    terms: what it forbids, "" if nothing.
    """

    name: str
    architecture: str
    parameters: int
    leads: tuple[str, ...]
    sampling_rate: float
    seconds: float | None
    licence: str
    terms: str
    source: str
    description: str


@dataclass(frozen=True)
class Entry:
    """A registered model."""

    architecture: type[Encoder]
    weights: WeightSource
    licence: str
    description: str
    terms: str = ""


def register_encoder(
    name: str, *, weights: WeightSource | None = None, licence: str = "unknown", description: str = ""
) -> Callable[[E], E]:
    """Class decorator: make an architecture known under `name`, and a model of that name.

    weights: of that model; random ones by default. licence: of the weights. description: a few words for tables.

    Raises SettingError for a class that is no `Encoder` with a `config_type`, or a name that another class has.
    """

    def decorate(encoder: E) -> E:
        if not (isinstance(encoder, type) and issubclass(encoder, Encoder) and hasattr(encoder, "config_type")):
            raise SettingError(f"register_encoder({name!r}) got {encoder!r}; a subclass of Encoder with a config_type")
        ARCHITECTURES.add(name, encoder)
        encoder.architecture = name
        register_weights(name, name, weights or RandomWeights(), licence=licence, description=description)
        return encoder

    return decorate


def register_weights(
    name: str, architecture: str, weights: WeightSource, *, licence: str = "unknown", description: str = ""
) -> None:
    """Make a model known under `name`: weights for a registered architecture. Arguments as of `register_encoder`."""
    facts = built_in().get(name, NamedModel(licence, description))
    MODELS[name] = Entry(find_architecture(architecture), weights, facts.licence, facts.description, facts.terms)


def list_models(pattern: str = "*") -> list[ModelInfo]:
    """Encoders that `load_model` knows by name, those that match the shell-like `pattern` ("*fm*")."""
    return [model_info(name) for name in model_names() if fnmatchcase(name, pattern)]


def models_at_hand() -> tuple[str, ...]:
    """Names of the models whose trained weights are installed: bundled ones first, then those of packages."""
    ARCHITECTURES.all()
    bundled = [name for name in model_names() if isinstance(MODELS[name].weights, BundledFolder)]
    return (*bundled, *(name for name in model_names() if _is_installed(MODELS[name].weights)))


def _is_installed(weights: WeightSource) -> bool:
    if not isinstance(weights, PackageFile):
        return False
    try:
        weights.fetch("")
    except CheckpointError:
        return False
    return True


def find_model(name: str) -> tuple[type[Encoder], WeightSource] | None:
    """Architecture and weights of a name, or of a file in a known hub repository ("owner/name/file"); else None."""
    ARCHITECTURES.all()
    if name in MODELS:
        return MODELS[name].architecture, MODELS[name].weights
    for entry in MODELS.values():
        repository = getattr(entry.weights, "repository", None)
        if repository is not None and (name == repository or name.startswith(f"{repository}/")):
            return entry.architecture, entry.weights
    return None


def model_info(name: str) -> ModelInfo:
    """Facts about a name of `model_names()`."""
    ARCHITECTURES.all()
    return _info(name)


def licence_of(name: str) -> str:
    """Licence of the weights of a named model or of a file in its hub repository; "unknown" for other files."""
    ARCHITECTURES.all()
    repositories = {getattr(entry.weights, "repository", None): entry for entry in MODELS.values()}
    entry = MODELS.get(name) or repositories.get("/".join(name.split("/")[:2]))
    return "unknown" if entry is None else entry.licence


@cache
def _info(name: str) -> ModelInfo:
    entry = MODELS[name]
    config = entry.weights.config(entry.architecture)
    with without_values():
        encoder = entry.architecture(config)
    scratch = isinstance(entry.weights, RandomWeights) and entry.weights.sizes is None
    spec = encoder.input_spec
    return ModelInfo(
        name=name,
        architecture=entry.architecture.architecture,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        leads=() if scratch else spec.leads,
        sampling_rate=spec.sampling_rate,
        seconds=spec.seconds if spec.samples is None else spec.samples / spec.sampling_rate,
        licence=entry.licence,
        terms=entry.terms,
        source=entry.weights.description,
        description=entry.description,
    )
