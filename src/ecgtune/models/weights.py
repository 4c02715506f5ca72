"""Where the weights of a model come from: what every result file says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ecgtune.utils.formatting import counted

#: Reason for entries of a file that are no weights.
BESIDE = "training state beside the weights"
#: A licence, or what it forbids, which every result repeats.
Phrase = Annotated[str, r"[^\x00-\x1f\x7f-\x9f]{0,1000}"]


class Origin(TypedDict):
    """The result of `Weights.to_json`."""

    kind: Literal["pretrained", "random"]
    source: str
    sha256: str | None
    seed: int | None
    used: list[str]
    left_out: list[Annotated[list[str], 2, 2]]
    licence: NotRequired[Phrase | None]
    terms: NotRequired[Phrase]


@dataclass(frozen=True)
class Weights:
    """Origin of an encoder's weights.

    `source` is the file, folder or name that they came from; `sha256` that of the file (None for random weights);
    `seed` that of random weights (None for a file). `used` names the file's tensors that the model holds, `left_out`
    pairs every other tensor of the file with the reason. `licence` is that of the file, where it is known; `terms` what
    it forbids, in words that every result repeats.
    """

    kind: Literal["pretrained", "random"]
    source: str
    sha256: str | None = None
    seed: int | None = None
    used: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    licence: str | None = None
    terms: str = ""

    def describe(self) -> str:
        """'pretrained (sha256 1234abcd...)', with terms behind the sum, or 'random (seed 0)'."""
        if self.kind == "pretrained":
            return f"pretrained (sha256 {str(self.sha256)[:8]}...{f'; {self.notice}' if self.terms else ''})"
        return f"random (seed {self.seed})"

    @property
    def notice(self) -> str:
        """Licence and terms: "CC BY-NC 4.0, no commercial use"."""
        return ", ".join(part for part in (self.licence, self.terms) if part)

    def audit(self) -> str:
        """One sentence that accounts for every tensor."""
        if self.kind == "random":
            return f"the encoder's weights are {self.describe()}; no file was read"
        tensors = [reason for _, reason in self.left_out if reason != BESIDE]
        rest = f", {len(tensors)} left out ({'; '.join(sorted(set(tensors)))})" if tensors else ""
        entries = [name for name, reason in self.left_out if reason == BESIDE]
        beside = f"; also left out, {BESIDE}: {', '.join(entries)}" if entries else ""
        return (
            f"all {counted(len(self.used) + len(tensors), 'tensor')} accounted for: {len(self.used)} used{rest}{beside}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values for a JSON file; `from_json` reads them back."""
        return {
            "kind": self.kind,
            "source": self.source,
            "sha256": self.sha256,
            "seed": self.seed,
            "used": list(self.used),
            "left_out": [list(pair) for pair in self.left_out],
            "licence": self.licence,
            "terms": self.terms,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Weights:
        """The inverse of `to_json`."""
        return cls(
            kind=values["kind"],
            source=values["source"],
            sha256=values["sha256"],
            seed=values["seed"],
            used=tuple(values["used"]),
            left_out=tuple((name, reason) for name, reason in values["left_out"]),
            licence=values.get("licence"),
            terms=values.get("terms", ""),
        )
