"""What is done to a whole recording on its way into windows: pure functions from arrays (leads, samples) to arrays."""

from ecgtune.data.signal.filters import band_pass, mains_notch
from ecgtune.data.signal.gaps import fill_gaps
from ecgtune.data.signal.leads import arrange_leads
from ecgtune.data.signal.path import Prepared, SignalPath
from ecgtune.data.signal.quality import saturated_leads, share_at_the_ends, share_standing_still
from ecgtune.data.signal.resampling import RESAMPLING, resample
from ecgtune.data.signal.scaling import ecg_fm_record, zscore
from ecgtune.data.signal.windows import cut_windows, segments

__all__ = [
    "RESAMPLING",
    "Prepared",
    "SignalPath",
    "arrange_leads",
    "band_pass",
    "cut_windows",
    "ecg_fm_record",
    "fill_gaps",
    "mains_notch",
    "resample",
    "saturated_leads",
    "segments",
    "share_at_the_ends",
    "share_standing_still",
    "zscore",
]
