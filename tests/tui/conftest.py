"""What several of the console's tests look at and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.runfile import make_run


@pytest.fixture(scope="session")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 1,000,000 items, none of them sent yet."""
    return make_run(tmp_path_factory.mktemp("million") / "million.db", 1_000_000, bare=True)
