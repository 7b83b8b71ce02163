"""Killed at any moment: no acknowledged revocation is lost, none is done twice, and the list always verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crl_server.deployments import made
from tests.crl_server.kills import kill_often

pytestmark = pytest.mark.usefixtures("engine")

KILLS = 10
"""On each engine; benchmarks/crashes.py kills more often."""


def test_no_acknowledged_revocation_is_lost(tmp_path: Path) -> None:
    authority = made(tmp_path / "acme")
    assert kill_often(authority, KILLS, seed=20260131).acknowledged >= KILLS
    authority.close()
