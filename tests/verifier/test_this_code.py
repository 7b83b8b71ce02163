"""What tells this code from any other: whatever is changed in it makes another one, also where nothing shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from verifier import this_code as module

Fresh = Iterator[None]


@pytest.fixture(autouse=True)
def fresh() -> Fresh:
    """What was found out about this process's own code is left as it was."""
    yield
    module._modules.cache_clear()
    module.this_code.cache_clear()


def looked_at(*libraries: str) -> bytes:
    """What a process that starts now finds."""
    module._modules.cache_clear()
    module.this_code.cache_clear()
    return module.this_code(*libraries)


def rewrite(path: Path, content: bytes) -> None:
    """Put another content of the same size in place, with the same time of writing."""
    before = path.stat()
    until(lambda: _is_later(path.with_name("clock"), before.st_ctime_ns))
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _is_later(path: Path, moment: int) -> bool:
    path.write_bytes(b"")
    return path.stat().st_ctime_ns > moment


def test_a_module_of_the_same_size_and_time_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judging").mkdir()
    (tmp_path / "judging" / "age.py").write_bytes(b"LIMIT = 5\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "this_code.py"))
    before = looked_at()
    assert looked_at() == before
    rewrite(tmp_path / "judging" / "age.py", b"LIMIT = 9\n")
    assert looked_at() != before


def test_a_library_of_the_same_size_and_time_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_library.py").write_bytes(b"__version__ = '1.0'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = looked_at("sample_library")
    assert "sample_library" not in sys.modules
    rewrite(tmp_path / "sample_library.py", b"__version__ = '1.1'\n")
    assert looked_at("sample_library") != before


def test_a_library_that_is_missing_is_another() -> None:
    assert looked_at("sample_library") != looked_at()
