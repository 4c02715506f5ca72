"""Build sdist and wheel twice, and check them: the same bytes, complete metadata, and what they hold.

    python packaging/distributions.py [--tools .venv-tools] [--out dist]

The wheel is built from the sdist. Times in both are SOURCE_DATE_EPOCH, by default that of the last commit.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from supply_chain import install_tools, tool

ROOT = Path(__file__).parents[1]
#: What each must hold, and the beginnings of the names of all that it may hold.
IN_WHEEL = ("ecgtune/py.typed", "ecgtune/cli/main.py", "ecgtune/recipes/files/lora.toml")
IN_SDIST = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "src/ecgtune/cli/main.py",
    "tests/conftest.py",
    "recipes/lora.toml",
)


def build(tools: Path, out: Path, epoch: str) -> dict[str, Path]:
    """Sdist and wheel by their suffix."""
    command = [tool(tools, "python"), "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return {".whl" if file.suffix == ".whl" else ".tar.gz": file for file in out.iterdir()}


def last_commit() -> str:
    """The time of the last commit, in seconds."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def problems_of(wheel: Path, sdist: Path) -> list[str]:
    """What is missing in the distributions, or does not belong there."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    found = [f"{wheel.name} lacks {name}" for name in IN_WHEEL if name not in inside]
    found += [f"{wheel.name} holds {name}" for name in inside if not name.startswith(("ecgtune/", "ecgtune-"))]
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    found += [f"{sdist.name} lacks {name}" for name in IN_SDIST if name not in names]
    return found + [f"{sdist.name} holds {name}" for name in names if "__pycache__" in name or name.endswith(".pyc")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, default=Path(".venv-tools"))
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args(arguments)
    reason = install_tools(options.tools)
    if reason:
        sys.exit(f"the tools cannot be installed: {reason}")
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or last_commit()
    options.out.mkdir(parents=True, exist_ok=True)
    for old in (*options.out.glob("ecgtune-*.whl"), *options.out.glob("ecgtune-*.tar.gz")):
        old.unlink()
    first = build(options.tools, options.out, epoch)
    with tempfile.TemporaryDirectory() as place:
        second = build(options.tools, Path(place), epoch)
        problems = [
            f"{first[kind].name}: two builds differ" for kind in first if sha256(first[kind]) != sha256(second[kind])
        ]
    problems += problems_of(first[".whl"], first[".tar.gz"])
    for check in (["twine", "check", "--strict", *first.values()], ["check-wheel-contents", first[".whl"]]):
        done = subprocess.run([tool(options.tools, check[0]), *check[1:]], capture_output=True, text=True)
        if done.returncode:
            problems.append(f"{check[0]}: {done.stdout.strip()} {done.stderr.strip()}")
    for problem in problems:
        print(problem)
    for file in first.values():
        print(f"{sha256(file)}  {file.name}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
