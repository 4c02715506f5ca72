"""Known vulnerabilities and licences of the packages in an environment, by pip-audit and pip-licenses.

    python packaging/supply_chain.py [--python PYTHON] [--tools .venv-tools] [--record FILE]

The tools are installed into an environment of their own. Exit status 1 for a known vulnerability, or a licence that
binds users of the package. When a registry does not answer, the record says so and the status is 0: an audit that
could not be made is no finding.
"""

import argparse
import json
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOOLS = ("pip-audit>=2.9", "pip-licenses>=5", "build>=1.2", "hatchling>=1.25", "twine>=6", "check-wheel-contents>=0.6")
SECONDS = 300.0  # for one tool
#: Vulnerabilities that do not concern the use here, and why.
ACCEPTED: Mapping[str, str] = {}
#: Packages whose licence metadata are missing or unclear, and their licence by their repository.
LICENCES: Mapping[str, str] = {
    "axe-playwright-python": "MIT License",  # with axe-core, MPL-2.0
    "docutils": "BSD License",  # and public domain; the GPL is that of a mode of Emacs beside it
    "mlcroissant": "Apache License 2.0",
}
_COPYLEFT = re.compile(r"\bA?GPL|General Public License|Affero|SSPL|Commons Clause|non-?commercial", re.IGNORECASE)
_WEAK = re.compile(r"\bLGPL|Lesser General Public", re.IGNORECASE)  # of libraries that are imported, not copied
_PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|HPND|Unlicense|Zlib|0BSD|CC0|CNRI"
)


def tool(folder: Path, name: str) -> Path:
    """A command of the environment of the tools."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / name


def install_tools(folder: Path) -> str:
    """Make the environment of the tools; the reason if it cannot be made, else ""."""
    mark = folder / ".installed"
    if mark.exists() and mark.read_text(encoding="utf-8") == " ".join(TOOLS):
        return ""
    venv.create(folder, with_pip=True)
    command = [tool(folder, "python"), "-m", "pip", "install", "--quiet", *TOOLS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return last_line(done.stderr)
    mark.write_text(" ".join(TOOLS), encoding="utf-8")
    return ""


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def answer(command: list[str | Path]) -> tuple[Any, str]:
    """The JSON that a tool prints, or None and the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        return json.loads(done.stdout), ""
    except subprocess.TimeoutExpired:
        return None, f"no answer within {SECONDS:g} s"
    except ValueError:
        return None, last_line(done.stderr)


def vulnerabilities(packages: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Ids of the known vulnerabilities of each package, without accepted ones, from the answer of pip-audit."""
    found = {
        f"{each['name']} {each['version']}": [every["id"] for every in each["vulns"] if every["id"] not in ACCEPTED]
        for each in packages
    }
    return {package: ids for package, ids in found.items() if ids}


def licence_problems(found: list[Mapping[str, str]]) -> dict[str, str]:
    """Packages whose licence binds their users, or is not known, from the answer of pip-licenses."""
    licences = {each["Name"]: LICENCES.get(each["Name"], each["License"]) for each in found}
    return {name: licence for name, licence in licences.items() if not _allowed(licence)}


def _allowed(licence: str) -> bool:
    """Whether one of the alternatives ("MIT OR GPL-2.0") can be taken; parts joined by AND or ; count together."""
    return any(
        bool(_PERMISSIVE.search(each) or _WEAK.search(each)) and not _COPYLEFT.search(_WEAK.sub("", each))
        for each in re.split(r"\bOR\b|\bor\b", licence)
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--tools", type=Path, default=Path(".venv-tools"))
    parser.add_argument("--record", type=Path, default=Path("build/supply_chain.json"))
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python packaging/supply_chain.py",
    }
    problems: list[str] = []
    reason = install_tools(options.tools)
    if reason:
        record["tools"] = f"not installed: {reason}"
    else:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        place = subprocess.run([options.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        audit, reason = answer(
            [tool(options.tools, "pip-audit"), "--path", place, "--format=json", "--progress-spinner=off"]
        )
        known = [] if audit is None else [each for each in audit["dependencies"] if "vulns" in each]
        if audit is not None and not known:
            reason = "the registry knows none of the packages"
        if not known:
            record["vulnerabilities"] = f"no answer: {reason}"
        else:
            record["audited"], record["packages"] = len(known), len(audit["dependencies"])
            record["vulnerabilities"] = vulnerabilities(known)
            problems += [f"{package}: {', '.join(ids)}" for package, ids in record["vulnerabilities"].items()]
        command = [tool(options.tools, "pip-licenses"), f"--python={options.python}", "--from=mixed", "--format=json"]
        licences, reason = answer(command)
        if licences is None:
            record["licences"] = f"no answer: {reason}"
        else:
            record["licences"] = {"packages": len(licences), "problems": licence_problems(licences)}
            problems += [f"{name}: licence {licence}" for name, licence in record["licences"]["problems"].items()]
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("\n".join(f"supply chain: {problem}" for problem in problems) or f"supply chain: {json.dumps(record)}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
