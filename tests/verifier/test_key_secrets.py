"""Passphrases and PINs: where they may come from, and which files with them are refused."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import pytest

from verifier.errors import UsageError
from verifier.signatures.key_secrets import PIN, asked, given
from verifier.signatures.private_keys import MAX_KEY_FILE


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PIN, raising=False)
    monkeypatch.delenv(f"{PIN}_FILE", raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)


def code_of_file(monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    monkeypatch.setenv(f"{PIN}_FILE", str(path))
    with pytest.raises(UsageError) as caught:
        given(PIN)
    return caught.value.code


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines\n", b"\xff", b"a\tb", b"x" * (MAX_KEY_FILE + 1)],
    ids=["empty", "blank", "lines", "bytes", "control", "huge"],
)  # fmt: skip
def test_a_file_without_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pin"
    file.write_bytes(content)
    file.chmod(0o600)
    assert code_of_file(monkeypatch, file) == "usage.key"


def test_a_file_that_others_can_read_is_refused_also_through_a_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, link = tmp_path / "pin", tmp_path / "link"
    file.write_text("1234")
    file.chmod(0o640)
    link.symlink_to(file)
    assert code_of_file(monkeypatch, file) == "usage.key"
    assert code_of_file(monkeypatch, link) == "usage.key"
    assert code_of_file(monkeypatch, tmp_path / "absent") == "usage.key"


def test_two_answers_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PIN, "1234")
    assert code_of_file(monkeypatch, tmp_path / "pin") == "usage.configuration"


def test_nobody_to_ask_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        asked(PIN, "the PIN")
    assert caught.value.code == "usage.key"
    at_terminal(monkeypatch, "")
    with pytest.raises(UsageError) as caught:
        asked(PIN, "the PIN")
    assert caught.value.code == "usage.key"


def test_the_variable_the_file_and_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert given(PIN) is None
    at_terminal(monkeypatch, "by hand")
    assert asked(PIN, "the PIN") == "by hand"
    monkeypatch.setenv(PIN, "1234")
    assert asked(PIN, "the PIN") == "1234"
    monkeypatch.delenv(PIN)
    for content in ("from file", "from file\n", "from file\r\n"):
        file = tmp_path / "pin"
        file.write_text(content, newline="")
        file.chmod(0o600)
        monkeypatch.setenv(f"{PIN}_FILE", str(file))
        assert given(PIN) == "from file"


def at_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A person at a terminal who types this."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: answer)
