"""Croissant 1.0 metadata of the data of a run (Akhtar et al. 2024; format of MLCommons)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgtune.text import printable
from ecgtune.utils.files import file_sha256

_FORMATS = {".csv": "text/csv", ".npz": "application/zip", ".h5": "application/x-hdf5", ".hdf5": "application/x-hdf5"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
#: What a person adds before the description is published: properties that no result file holds.
BLANKS = ("license", "url", "creator", "datePublished", "version", "citeAs")


def croissant(metrics: Mapping[str, Any], split: Path) -> dict[str, Any]:
    """Describe the file of windows or labels, and split.csv, which names the split of every window.

    metrics: content of metrics.json. split: file of the run. The result has no window and no identifier.
    """
    data, counts = metrics["data"], metrics["split"]["counts"]
    name = Path(str(data["path"])).name
    groups = ", ".join(f"{part}: {own['windows']}" for part, own in counts.items())
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": _identifier(name),
        "description": (
            f"{data['windows']} ECG windows of {data['samples']} samples at {float(data['sampling_rate']):g} Hz, leads "
            f"{', '.join(map(str, data['leads']))}; classes: {', '.join(map(str, metrics['classes']))}. "
            f"Windows per split: {groups}. To be completed by a person: {', '.join(BLANKS)}."
        ),
        "distribution": [
            _file("data", name, str(data["sha256"]), _FORMATS.get(Path(name).suffix, "application/octet-stream")),
            _file("split", split.name, file_sha256(split), "text/csv"),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "windows",
                "name": "windows",
                "description": "Row of each window in the data, from 0, and its split.",
                "field": [_field("row", "sc:Integer"), _field("split", "sc:Text")],
            }
        ],
    }


def _file(identifier: str, name: str, sha256: str, kind: str) -> dict[str, Any]:
    facts = {"@type": "cr:FileObject", "@id": identifier, "name": identifier, "description": printable(name)}
    return {**facts, "contentUrl": name, "encodingFormat": kind, "sha256": sha256}


def _field(column: str, kind: str) -> dict[str, Any]:
    facts = {"@type": "cr:Field", "@id": f"windows/{column}", "name": f"windows/{column}", "dataType": kind}
    return {**facts, "source": {"fileObject": {"@id": "split"}, "extract": {"column": column}}}


def _identifier(name: str) -> str:
    """A name with letters, digits and dashes only."""
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in name).strip("-") or "windows"
