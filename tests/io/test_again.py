"""What a run folder says about how its data were read; the folder may come from others."""

import json

import pytest

import ecgtune
from ecgtune.errors import DataError
from ecgtune.io.again import read_again

SIMULATED = {"kind": "simulated", "windows": 4, "sampling_rate": 100, "seconds": 2, "patients": 2, "seed": 0}
WINDOWS = {"kind": "windows", "path": "windows.csv"}
RECORDS = {"kind": "records", "table": "labels.csv", "records": "records", "columns": {}, "options": {}, "settings": {}}


@pytest.mark.parametrize(
    "reading",
    [
        *(
            5,
            [],
            {},
            {"kind": None},
            {"kind": "os.system"},
            SIMULATED | {"windows": 10**9},
            SIMULATED | {"seconds": 1e7},
        ),
        *(SIMULATED | {"sampling_rate": 0}, SIMULATED | {"patients": -1}, SIMULATED | {"eval": 1}),
        *(SIMULATED | {"limit": [2]}, SIMULATED | {"limit": 2}, {"kind": "simulated"}),
        *(WINDOWS | {"path": None}, WINDOWS | {"labels": 5}, WINDOWS | {"cache": False}, WINDOWS | {"missing": [1]}),
        *(RECORDS | {"columns": []}, RECORDS | {"table": 0}, {"kind": "records"}),
    ],
)
def test_a_damaged_description_is_one_line(reading):
    with pytest.raises(DataError) as caught:
        read_again(reading)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_whole_description_gives_the_same_windows():
    data = ecgtune.simulate(12, seconds=2, seed=3)
    again = read_again(json.loads(json.dumps(data.source.reading)), data.source.sha256)
    assert (again.signal == data.signal).all()
