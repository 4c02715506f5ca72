"""Recordings written as files of every format, by the library made for it or by the standard's own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ecgtune.io.readers.base import ReadOptions, Recording
from ecgtune.io.readers.registry import read_recording

LEADS = ("I", "II", "V1")


def digital(leads: int = 3, samples: int = 40, seed: int = 0) -> np.ndarray:
    """Whole numbers (leads, samples) for files of 12 bits and more; with 1000 steps per millivolt exact in float32."""
    return np.random.default_rng(seed).integers(-2000, 2000, (leads, samples))


def read(path: Path, **options) -> Recording:
    return read_recording(path, ReadOptions(**options))


def write_wfdb(
    folder: Path, values: np.ndarray, name: str = "rec", leads=LEADS, rate: float = 250, fmt: str = "16", **fields
) -> Path:
    """A record through the library's own writer; gives the path of the header."""
    import wfdb

    count = len(values)
    signal = {"units": ["mV"] * count, "adc_gain": [1000.0] * count, "baseline": [0] * count} | fields
    wfdb.wrsamp(
        name,
        fs=rate,
        units=signal["units"],
        sig_name=list(leads[:count]),
        d_signal=values.T.astype(np.int64),
        fmt=[fmt] * count,
        adc_gain=signal["adc_gain"],
        baseline=signal["baseline"],
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def write_hdf5(path: Path, values: np.ndarray, on_file: bool = False, **attributes) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("signal", data=values)
        for key, value in attributes.items():
            (file if on_file else dataset).attrs[key] = value
    return path


def write_csv(path: Path, values: np.ndarray, names=LEADS) -> Path:
    lines = [",".join(names), *(",".join(map(repr, row)) for row in values.T.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_edf(path: Path, values: np.ndarray, leads=LEADS, rate: int = 20, unit: str = "uV", limit: int = 3276) -> Path:
    """EDF+ of one-second records through the library's own writer; a step is a tenth of `unit`."""
    import pyedflib

    writer = pyedflib.EdfWriter(str(path), len(values), file_type=pyedflib.FILETYPE_EDFPLUS)
    for channel, lead in enumerate(leads[: len(values)]):
        header = {"label": lead, "dimension": unit, "sample_frequency": rate, "transducer": "", "prefilter": ""}
        ends = {"physical_max": limit, "physical_min": -limit, "digital_max": limit * 10, "digital_min": -limit * 10}
        writer.setSignalHeader(channel, header | ends)
    writer.writeSamples([np.ascontiguousarray(row, np.int32) for row in values], digital=True)
    writer.close()
    return path


def dicom_group(values: np.ndarray, leads=LEADS, rate: float = 500.0, **fields):
    """A multiplex group of 16-bit samples whose step is 2.5 uV and whose baseline is 3 uV."""
    from pydicom.dataset import Dataset

    group = Dataset()
    group.WaveformOriginality = fields.pop("originality", "ORIGINAL")
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = values.shape
    group.SamplingFrequency = rate
    group.ChannelDefinitionSequence = []
    for lead in leads[: len(values)]:
        source, unit, channel = Dataset(), Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "x", "99LOCAL", f"Lead {lead}"
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = fields.get("unit", "uV"), "UCUM", "unit"
        channel.ChannelSourceSequence = [source]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = 2.5, 1
        channel.ChannelBaseline, channel.ChannelSensitivityUnitsSequence = 3, [unit]
        channel.WaveformBitsStored = 16
        group.ChannelDefinitionSequence.append(channel)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = values.T.astype("<i2").tobytes()
    if "padding" in fields:
        group.WaveformPaddingValue = int(fields["padding"]).to_bytes(2, "little", signed=True)
    if "offset" in fields:
        group.MultiplexGroupTimeOffset = fields["offset"]
    return group


def write_dicom(path: Path, groups: list, syntax: str = "1.2.840.10008.1.2.1") -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import TwelveLeadECGWaveformStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, TwelveLeadECGWaveformStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["ecgtune"])
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "ECG"
    if groups:
        dataset.WaveformSequence = groups
    dataset.save_as(path, enforce_file_format=True)
    return path
