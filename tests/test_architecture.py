"""The rooms: imports point backward only, and importing the package costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ecgtune

PACKAGE = Path(ecgtune.__file__).parent
ROOMS = [
    "errors",
    "utils",
    "config",
    "data",
    "io",
    "models",
    "methods",
    "recipe",
    "evaluation",
    "training",
    "pretraining",
    "reporting",
    "deployment",
    "workflows",
    "testing",
    "cli",
]
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imported_rooms(module: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written out in full"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "ecgtune" else [node.module]
            )
        rooms |= {name.split(".")[1] for name in names if name and name.startswith("ecgtune.")}
    return rooms


def test_every_module_stands_in_a_room():
    assert {room_of(module) for module in MODULES} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) != "__init__"], ids=str)
def test_imports_point_backward(module):
    place = ROOMS.index(room_of(module))
    for room in imported_rooms(module) - {"__version__"}:
        assert ROOMS.index(room) <= place, f"{module} imports from {room}, which comes after {room_of(module)}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_are_small(module):
    assert len((PACKAGE / module).read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ecgtune", {"torch", "peft", "numpy", "scipy", "matplotlib"}),
        ("import ecgtune; ecgtune.LoRA(rank=4)", {"torch", "peft", "scipy", "matplotlib"}),
        ("import ecgtune.cli.main", {"torch", "peft", "scipy", "matplotlib"}),
        ("import ecgtune.evaluation", {"torch", "peft", "matplotlib"}),
        ("import ecgtune; ecgtune.read_dataset", {"torch", "peft", "matplotlib"}),
        ("import ecgtune.pretraining", {"neurokit2", "matplotlib"}),
    ],
)
def test_imports_are_light(statement, absent):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not absent & set(loaded)


def test_public_names_are_there():
    for name in ecgtune.__all__:
        assert getattr(ecgtune, name) is not None
    with pytest.raises(AttributeError, match="fine_tine"):
        ecgtune.fine_tine  # noqa: B018
