"""What every test stands on: a home of its own, and no key of the machine's owner."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair: no test fails by the clock.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY", "NO_COLOR", "BATCHDECK_HOME")


def pytest_configure(config: pytest.Config) -> None:
    """Engines that tests start load what is compiled already, where the environment keeps Python from keeping it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.rootpath / ".pytest_cache" / "bytecode"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules and tests stay: to look through them for garbage, again and again, took a tenth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder for this test alone; engines that it starts inherit it."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("BATCHDECK_HOME", str(folder))
    return folder
