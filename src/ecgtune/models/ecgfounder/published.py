"""Reader of the published ECGFounder files: 12 leads and one lead, with the head of 150 diagnoses.

A file holds `state_dict` with the tensors, among them batch norms that no configuration of the authors runs, and beside
it the state of the training: optimizer, scheduler, epoch.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ecgtune.models.ecgfounder.labels import LABELS
from ecgtune.models.ecgfounder.network import ECGFounder, ECGFounderConfig
from ecgtune.models.published import StateDictFormat

TWELVE_LEADS = ECGFounderConfig()
ONE_LEAD = replace(TWELVE_LEADS, leads=("I",))

#: Stage and place of every block, in the order of computation.
_BLOCKS = [(stage, block) for stage, blocks in enumerate(TWELVE_LEADS.blocks) for block in range(blocks)]


def published_name(name: str) -> str:
    """Name in the file of a tensor of `ECGFounder`."""
    found = re.fullmatch(r"layers\.(\d+)\.(conv\d|excitation\.fc\d)\.(\w+)", name)
    if found is None:
        return name.replace("stem.", "first_conv.conv.")
    stage, block = _BLOCKS[int(found[1])]
    part = f"se_{found[2][-3:]}" if found[2].startswith("excitation") else f"{found[2]}.conv"
    return f"stage_list.{stage}.block_list.{block}.{part}.{found[3]}"


FORMAT = StateDictFormat(
    architecture=ECGFounder,
    sizes=(TWELVE_LEADS, ONE_LEAD),
    published_name=published_name,
    mark="stage_list.*.se_fc1.weight",
    head=("dense.weight", "dense.bias"),
    labels=LABELS,
    left_out={pattern: "batch norms that the network does not run" for pattern in ("first_bn.*", "*.bn[123].*")},
)
