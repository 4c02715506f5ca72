"""Pins of the oldest versions that pyproject.toml allows, for an environment in which `make oldest` runs tests.

    python packaging/oldest.py > pins.txt

Of every dependency and of the extras in `EXTRAS` the lower bound is pinned. torch is left to constraints.txt: the
versions before it are large, and other builds of them need other sources.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("pretrain", "explain", "runtime", "export", "serve", "sweep", "clinical", "dicom", "hdf5", "openecg")
#: Extras that are not pinned: a build of torch of their own, gigabytes, sums of others, and tools of developers.
OTHER_EXTRAS = ("executorch", "ray", "formats", "docs", "dev")
LEFT_OUT = {"torch"}
_LOWER = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def pins() -> list[str]:
    """`name==version` of every requirement. Raises ValueError for one without a lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += [each for each in project["optional-dependencies"][extra] if not each.startswith("ecgtune[")]
    found = []
    for requirement in wanted:
        lower = _LOWER.match(requirement)
        if lower is None:
            raise ValueError(f"{requirement} of pyproject.toml has no lower bound; write name>=version")
        if lower[1] not in LEFT_OUT:
            found.append(f"{lower[1]}=={lower[2]}")
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(pins()))
