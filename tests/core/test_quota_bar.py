"""A run that is started far too wide settles at its quota by itself; ``benchmarks/quota.py`` has it at large.

The real engine under virtual time, a few minutes for each kind of quota.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.quotas import Case, play

TOLD = [
    Case(seed=1, shape="bucket"),
    Case(seed=2, shape="bucket", meter="tokens"),
    Case(seed=3, shape="fixed", meter="both"),
    Case(seed=5, shape="bucket", twist="stranger"),
    Case(seed=4, shape="sliding"),
]
SILENT = [
    Case(seed=1, shape="bucket", headers=False),
    Case(seed=3, shape="bucket", headers=False, told=False),
    Case(seed=0, shape="sliding", twist="stranger", headers=False, told=False),
]


@pytest.mark.parametrize("case", TOLD, ids=str)
def test_with_limits_in_the_headers_it_keeps_just_within_them(tmp_path: Path, case: Case) -> None:
    outcome = play(tmp_path / "run.db", case)
    assert outcome.is_good, outcome


@pytest.mark.parametrize("case", SILENT, ids=str)
def test_without_a_word_of_the_limits_it_learns_them(tmp_path: Path, case: Case) -> None:
    outcome = play(tmp_path / "run.db", case)
    assert outcome.is_fair, outcome
