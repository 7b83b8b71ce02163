"""What the templates' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from attestor.building.wheelhouse import prepare
from tests.project.tree import ROOT


@pytest.fixture(scope="session")
def build_wheels() -> Path:
    """The locked build requirements of the example plugin, fetched once and kept by digest."""
    return prepare(ROOT / "examples" / "csv-exporter" / "build-requirements.lock")
