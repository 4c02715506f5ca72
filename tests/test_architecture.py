"""Imports point backward along the packages and form no cycle; modules are small, and imports light."""

import ast
import graphlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import ecgtune

ROOT = Path(ecgtune.__file__).parent
PACKAGES = (
    *("text", "errors", "utils", "config", "data", "io", "models", "methods", "recipes", "evaluation", "runtime"),
    *("training", "pretraining", "reporting", "deployment", "workflows", "testing", "cli"),
)
MOST_PARAMETERS = 7
#: Modules below 40 lines, and why each is one.
SMALL = {
    "ecgtune.errors": "imported by all",
    "ecgtune.text": "imported by all",
    "ecgtune.utils.child": "the start of every process of its own",
    "ecgtune.utils.machine": "imported with and without torch",
    "ecgtune.config.data": "one table of a recipe",
    "ecgtune.config.model": "one table of a recipe",
    "ecgtune.config.evaluation": "one table of a recipe",
    "ecgtune.config.targets": "constants without torch",
    "ecgtune.methods.probe.layer_mix": "torch apart from settings",
    **{f"ecgtune.models.{path.parent.name}": "what the folder registers" for path in ROOT.glob("models/*/models.toml")},
    "ecgtune.models.layered": "apart from the contract, which would be too long",
    "ecgtune.models.hub": "the one access to the network",
    "ecgtune.workflows.demo": "one command",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {
    name_of(path): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py" and path != ROOT / "__init__.py"
}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of the package that a module imports anywhere, in a function too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written out in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return frozenset(found & MODULES.keys())


def test_imports_exist():
    """Of the package, in sources, tests, benchmarks and studies: a name that moved is told here."""
    files = [
        file
        for folder in ("src", "tests", "benchmarks", "studies")
        for file in (ROOT.parents[1] / folder).rglob("*.py")
    ]
    known = {"ecgtune", *MODULES}
    missing = [
        f"{file}: {node.module}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ecgtune.") and node.module not in known
    ]
    assert not missing


def package_of(module: str) -> str:
    return module.split(".")[1]


def test_every_module_is_in_a_package():
    assert {package_of(module) for module in MODULES} == set(PACKAGES)


def test_imports_point_backward():
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other in imports_of(module)
        if PACKAGES.index(package_of(other)) > PACKAGES.index(package_of(module))
    ]
    assert not wrong


def test_imports_form_no_cycle():
    graph = {module: imports_of(module) - {module} for module in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


def test_imports_name_the_defining_module():
    """Packages hand no names on: `__init__.py` has a docstring, and what a folder registers."""
    for module, path in MODULES.items():
        if path.name == "__init__.py" and module not in (*SMALL, "ecgtune.testing", "ecgtune.runtime"):
            body = ast.parse(path.read_text()).body
            assert all(isinstance(node, ast.Expr) for node in body), f"{module} is more than a docstring"


def test_modules_are_small_and_not_tiny():
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 400} == {}
    files = {module: count for module, count in lines.items() if MODULES[module].name != "__init__.py"}
    small = {m: count for m, count in files.items() if count < 40 and m not in SMALL}
    # One module per command, and per architecture one reader of published files.
    small = {m: count for m, count in small.items() if package_of(m) != "cli" and not m.endswith(".published")}
    assert small == {}


#: Statements, one after another in one process, and what is not imported behind each.
LIGHT = {
    "import ecgtune, ecgtune.cli.main": {"torch", "peft", "numpy", "scipy", "matplotlib"},
    "ecgtune.LoRA(rank=4); ecgtune.load_recipes('lora')": {"torch", "peft", "scipy", "matplotlib"},
    "import ecgtune.evaluation.evaluate": {"torch", "peft", "scipy", "matplotlib"},
    "ecgtune.read_dataset": {"torch", "peft", "scipy", "matplotlib", "pandas"},
    "ecgtune.load_model('ecg-fm-tiny')": {"peft", "accelerate", "matplotlib", "pandas", "scipy", "sympy"},
    "ecgtune.predict; ecgtune.load_run": {"peft", "accelerate", "matplotlib", "pandas", "scipy", "torch._dynamo"},
    "ecgtune.pretrain": {"neurokit2", "peft"},
}


def test_imports_are_light():
    code = "import sys\n" + "\n".join(f"{statement}\nprint(*sys.modules)" for statement in LIGHT)
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: absent & set(line.split()) for (name, absent), line in zip(LIGHT.items(), lines, strict=True)}
    assert found == {name: set() for name in LIGHT}


def test_functions_have_few_parameters():
    """At most seven, `self` not counted; what needs more takes a dataclass of settings, as the command line does."""
    found = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                given = node.args
                names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                count = len([one for one in names if one not in ("self", "cls")])
                if count > MOST_PARAMETERS:
                    found.append(f"{name}.{getattr(node, 'name', 'lambda')}: {count}")
    assert not found


def test_public_names_are_there():
    for name in ecgtune.__all__:
        assert getattr(ecgtune, name) is not None
    with pytest.raises(AttributeError, match="fine_tine"):
        ecgtune.fine_tine  # noqa: B018


def test_a_count_and_its_noun_agree():
    """A message writes a count that can be 1 by `counted(n, "recording")`: never "1 recordings"."""
    nouns = "recording|window|file|row|seed|pair|epoch|step|run|trial|patient|record|method|lead|channel|segment|tensor"
    count = re.compile(rf"\{{(?:len\([^{{}}]*\)|count|number|total)(?::,)?\}} (?:[a-z-]+ )?(?:{nouns})s\b")
    found = [f"{name}: {match[0]}" for name, path in MODULES.items() for match in count.finditer(path.read_text())]
    assert not found


#: Modules that read only files of the package, or files that their own process has just written.
OWN_FILES = {
    *("cli.auto", "deployment.page", "io.download", "io.published_labels", "methods.peft_encoder", "models.names"),
    *("recipes.recipe", "reporting.pack.checklists", "reporting.pack.documents", "reporting.style", "testing.readers"),
    *("io.records.cache", "io.records.first_pass", "io.window_files", "utils.machine", "utils.sources"),
    *("io.readers.hdf5_worker", "utils.files", "workflows.dry_run"),
}


def test_files_of_others_are_opened_by_the_checked_function():
    """`utils.files.open_file` refuses pipes and devices, which block or never end."""
    found = {
        module.removeprefix("ecgtune.")
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and reads_plainly(node)
    }
    assert found == OWN_FILES


def reads_plainly(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("read_bytes", "read_text"):
        return isinstance(call.func, ast.Attribute)
    values = [
        *call.args[isinstance(call.func, ast.Name) :],
        *(item.value for item in call.keywords if item.arg == "mode"),
    ]
    modes = [value.value for value in values if isinstance(value, ast.Constant)]
    return name == "open" and len(modes) == len(values) and str([*modes, "r"][0]).startswith("r")
