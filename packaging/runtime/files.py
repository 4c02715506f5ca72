"""The files of the wheel: those of ecgtune but pretrained weights and fingerprints, which only a training loads."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Files(BuildHookInterface):
    """Called by hatchling before it builds the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root).parents[1]
        for folder, place in ((root / "src" / "ecgtune", "ecgtune"), (root / "recipes", "ecgtune/recipes/files")):
            for file in sorted(folder.rglob("*")):
                if file.is_file() and file.suffix not in (".safetensors", ".npz") and "__pycache__" not in file.parts:
                    build_data["force_include"][str(file)] = f"{place}/{file.relative_to(folder)}"
        build_data["force_include"][str(root / "LICENSE")] = "ecgtune/LICENSE"
