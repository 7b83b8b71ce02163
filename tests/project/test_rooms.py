"""The house's plan: each room is where contributors are told that it is, and no package becomes a hall again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOOR = 20
"""How many modules may lie outside of any room, of one package."""


@pytest.mark.parametrize("package", ["attestor", "crl_server", "verifier"])
def test_each_room_is_told_of_and_the_floor_stays_small(package: str) -> None:
    rooms = {found.parent.name for found in (ROOT / package).glob("*/__init__.py")}
    (row,) = re.findall(rf"^\| `{package}` \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", row)) == rooms
    assert len(list((ROOT / package).glob("*.py"))) <= FLOOR


@pytest.mark.parametrize("package", ["attestor", "crl_server", "verifier"])
def test_each_room_says_what_it_is_for(package: str) -> None:
    for found in (ROOT / package).glob("*/__init__.py"):
        assert found.read_text().startswith('"""'), found
