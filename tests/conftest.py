"""What every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and reference numbers beside the checkout; tests that need it skip without it."""
    if not (SHARED / "reference").is_dir():
        pytest.skip("the folder ../shared with real recordings and reference numbers is not here")
    return SHARED
