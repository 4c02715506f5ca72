"""Files of clinical carts, written by the standard and read back, and such files that lie."""

import contextlib

import numpy as np
import pytest

from ecgtune.errors import DataError
from ecgtune.io.readers.clinical import unpacked_length
from helpers.clinical_files import LIMB, hl7, muse, philips, scp, xli
from helpers.recordings import LEADS, digital, read

TWELVE = (*LIMB, "V1", "V2", "V3", "V4", "V5", "V6")
VALUES = digital()


def saved(tmp_path, content: str | bytes, name: str = "rec.xml"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "step_uv", "rate"),
    [
        ("a.xml", hl7(VALUES, LEADS), 2.5, 500.0),
        ("a.xml", hl7(VALUES, LEADS, step_ms=3.90625, scale="0.001", unit="mV"), 1.0, 256.0),
        ("a.xml", hl7(VALUES, LEADS, step_ms=3.0), 2.5, 1000 / 3),
        ("a.xml", muse(VALUES, LEADS), 4.88, 500.0),
        ("a.XML", muse(VALUES, LEADS, rate=250, scale="0.005", unit="mV"), 5.0, 250.0),
        ("a.xml", philips(VALUES, LEADS), 5.0, 500.0),
        ("a.xml", philips(VALUES, LEADS, packed=xli(VALUES, LEADS)), 5.0, 500.0),
        ("a.scp", scp(VALUES, LEADS), 2.5, 500.0),
        ("a.scp", scp(VALUES, LEADS, avm=1000, interval_us=1500), 1.0, 1e6 / 1500),
        ("a.scp", scp(VALUES, LEADS, differences=1), 2.5, 500.0),
        ("a.scp", scp(VALUES // 8, LEADS, avm=20000, differences=2), 20.0, 500.0),
    ],
)
def test_what_was_written_comes_back(tmp_path, name, content, step_uv, rate):
    recording = read(saved(tmp_path, content, name))
    values = VALUES // 8 if step_uv == 20.0 else VALUES
    np.testing.assert_allclose(recording.signal, values * step_uv / 1000, rtol=1e-6)
    assert recording.leads == LEADS
    assert recording.sampling_rate == pytest.approx(rate, rel=1e-12)


def test_a_step_of_a_microvolt_is_exact(tmp_path):
    expected = (VALUES / 1000).astype(np.float32)
    for content in (
        hl7(VALUES, LEADS, scale="0.001", unit="mV"),
        muse(VALUES, LEADS, scale="0.001", unit="MILLIVOLTS"),
    ):
        np.testing.assert_array_equal(read(saved(tmp_path, content)).signal, expected)


def test_philips_packs_the_limb_leads_as_what_is_left_of_them(tmp_path):
    values = digital(12, 50) // 4
    recording = read(saved(tmp_path, philips(values, TWELVE, packed=xli(values, TWELVE))))
    assert recording.leads == TWELVE
    np.testing.assert_allclose(recording.signal, values * 0.005, rtol=1e-6)


def test_the_origin_of_hl7_is_added(tmp_path):
    signal = read(saved(tmp_path, hl7(VALUES, LEADS, origin="100"))).signal
    np.testing.assert_allclose(signal, (VALUES * 2.5 + 100) / 1000, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["utf-16", "iso-8859-1"])
def test_other_encodings(tmp_path, kind):
    content = muse(VALUES, LEADS).replace(
        "<RestingECG>", "<RestingECG><PatientDemographics>Jos\xe9</PatientDemographics>"
    )
    path = saved(tmp_path, content.encode(kind))
    np.testing.assert_allclose(read(path).signal, VALUES * 0.00488, rtol=1e-6)


def test_checksums(tmp_path):
    path = saved(tmp_path, muse(VALUES, LEADS, crc=1))
    with pytest.raises(DataError, match=r"checksum.*--ignore-checksums"):
        read(path)
    np.testing.assert_allclose(read(path, ignore_checksums=True).signal, VALUES * 0.00488, rtol=1e-6)
    content = bytearray(scp(VALUES, LEADS))
    content[-1] ^= 1
    path = saved(tmp_path, bytes(content), "a.scp")
    with pytest.raises(DataError, match=r"checksum.*--ignore-checksums"):
        read(path)
    assert read(path, ignore_checksums=True).leads == LEADS


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><AnnotatedECG>&b;</AnnotatedECG>'


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        ("a.xml", "", {}, ["is no XML"]),
        ("a.xml", "<html/>", {}, ["root element 'html'", "RestingECG"]),
        ("a.xml", BOMB, {}, ["entities"]),
        ("a.xml", "<RestingECG>" + "<a/>" * 50_001 + "</RestingECG>", {}, ["50000 elements"]),
        ("a.xml", "<RestingECG>" + " " * (1 << 24) + "</RestingECG>", {}, ["at most 16777216"]),
        ("a.xml", "<RestingECG/>", {}, ["cannot be read"]),
        ("a.xml", hl7(VALUES, LEADS)[:-200], {}, ["is no XML"]),
        ("a.xml", hl7(VALUES, LEADS, unit="furlong"), {}, ["does not say its unit", "--unit"]),
        ("a.xml", hl7(VALUES, ("I", "II", "C9")), {}, ["'C9', is no known lead", "--lead-names"]),
        ("a.xml", hl7(VALUES, LEADS), {"sampling_rate": 100.0}, ["500 Hz", "--sampling-rate"]),
        ("a.xml", hl7(VALUES, LEADS), {"max_values": 100}, ["at most 100"]),
        ("a.xml", muse(VALUES, LEADS, unit=""), {}, ["does not say its unit"]),
        ("a.xml", muse(VALUES, ("I", "I", "V1")), {}, ["--lead-names"]),
        ("a.xml", muse(VALUES, LEADS).replace("Count>40<", "Count>41<").replace("Total>40<", "Total>41<"), {}, ["41"]),
        ("a.xml", philips(VALUES, LEADS, resolution=""), {}, ["does not say its unit"]),
        ("a.xml", philips(VALUES[:, :10], LEADS).replace('channel="20"', 'channel="80"'), {}, ["cannot be read"]),
        ("a.xml", philips(VALUES, LEADS, packed=xli(VALUES, LEADS)[:-3]), {}, ["cannot be read"]),
        ("a.scp", b"", {}, ["no section 3"]),
        ("a.scp", scp(VALUES, LEADS)[:-20], {}, ["cannot be read"]),
        ("a.scp", scp(VALUES, LEADS, last=4_000_000_000), {}, ["4000000000 samples"]),
        ("a.scp", scp(VALUES, LEADS, last=4_000_000_000, differences=1), {}, ["4000000000 samples"]),
        ("a.scp", scp(VALUES, LEADS, count=200), {}, ["promises 200 leads"]),
        ("a.scp", scp(VALUES, LEADS, avm=0), {}, ["does not say its unit"]),
        ("a.scp", bytes((1 << 20) + 1), {}, ["at most 1048576"]),
    ],
)
def test_files_that_lie(tmp_path, name, content, options, parts):
    path = saved(tmp_path, content, name)
    with pytest.raises(DataError) as error:
        read(path, **options)
    message = str(error.value)
    assert all(part in message for part in [str(path), *parts]), message
    assert len(message.splitlines()) == 1


def lzw_bomb(codes: int) -> bytes:
    """Codes 256, 257, ... each of which stands for one byte more than the last, then the longest again and again."""
    numbers = np.minimum(np.arange(codes) + 255, 1022)
    numbers[0] = 0
    bits = (numbers[:, None] >> np.arange(9, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def test_what_xli_unpacks_to_is_known_before(tmp_path):
    from ecgdatakit.exceptions import ECGDataKitError
    from ecgdatakit.parsing.codecs import LzwDecoder

    rng = np.random.default_rng(0)
    for chunk in [lzw_bomb(900), lzw_bomb(2000), rng.bytes(400), rng.bytes(3000), b"\xff", b""]:
        expected = 0
        with contextlib.suppress(ECGDataKitError):
            expected = len(LzwDecoder(chunk, bits=10).read_all())
        assert unpacked_length(chunk, 1 << 30) == expected
    chunk = lzw_bomb(20_000)
    packed = len(chunk).to_bytes(4, "little") + bytes(4) + chunk
    path = saved(tmp_path, philips(VALUES, LEADS, packed=packed))
    assert path.stat().st_size < 40_000
    with pytest.raises(DataError, match="unpack to over"):
        read(path)
