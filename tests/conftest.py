"""What every test stands on: a home of its own, and no key of the machine's owner."""

from __future__ import annotations

from pathlib import Path

import pytest

KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY", "NO_COLOR", "BATCHDECK_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder for this test alone; engines that it starts inherit it."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("BATCHDECK_HOME", str(folder))
    return folder
