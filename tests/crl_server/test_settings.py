"""``settings.toml``: what it says, and what of it is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crl_server.settings import (
    MAX_AT_ONCE,
    MAX_EACH_SECOND,
    MAX_EXPORTS,
    MAX_WEBHOOKS,
    MIN_EACH_SECOND,
    Limits,
    Settings,
    read_settings,
)
from tests.project.tree import ROOT
from verifier.errors import LoadlockError

SPEC = (ROOT / "docs" / "spec" / "settings.md").read_text("utf-8")
HOOK = '[[webhook]]\nname = "soc"\nsecret = "s"\n'
BUCKET = '[[export]]\nname = "cdn"\ns3 = {{ {}bucket = "acme-lists" }}\n'


def read(directory: Path, text: str) -> Settings:
    path = directory / "settings.toml"
    path.write_text(text, "utf-8")
    return read_settings(path)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "settings.toml") == Settings()


def test_the_example_of_the_specification_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SPEC, re.DOTALL)
    settings = read(tmp_path, example)
    mirror, cdn = settings.export
    assert (mirror.directory, mirror.max_age, str(mirror.keep)) == ("/srv/mirror", 5, "P1D")
    assert cdn.s3 is not None
    assert (cdn.s3.bucket, cdn.s3.prefix, cdn.max_age, cdn.s3.conditional) == ("acme-lists", "loadlock/", 10, True)
    assert settings.webhook[0].topics == ("revocation", "rule", "expiry")
    assert settings.metrics.access == "loopback"
    assert (settings.limits.writes_at_once, settings.limits.writes_each_second) == (100, 2.5)


def test_the_specification_states_the_caps() -> None:
    assert f"| exports | {MAX_EXPORTS} |" in SPEC
    assert f"| webhooks | {MAX_WEBHOOKS} |" in SPEC
    assert f"(1 to {MAX_AT_ONCE:,})" in SPEC
    assert f"({MIN_EACH_SECOND} to {MAX_EACH_SECOND:,.0f})" in SPEC
    assert f"| `writes_at_once` | {Limits().writes_at_once} |" in SPEC
    assert f"| `writes_each_second` | {Limits().writes_each_second} |" in SPEC


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[export]", "format.syntax"),
        ("colour = 1", "format.schema"),
        ('[metrics]\naccess = "all"', "format.schema"),
        ("[limits]\nwrites_at_once = 0", "format.schema"),
        ("[limits]\nwrites_at_once = 100001", "format.schema"),
        ("[limits]\nwrites_at_once = true", "format.schema"),
        ("[limits]\nwrites_each_second = 0.0", "format.schema"),
        ("[limits]\nwrites_each_second = 10001", "format.schema"),
        ("[limits]\nwrites_each_second = nan", "format.schema"),
        ("[limits]\nwrites_each_second = inf", "format.schema"),
        ("[limits]\nreads = 1", "format.schema"),
        ('[[export]]\nname = "a"', "usage.configuration"),
        ('[[export]]\nname = "a"\ndirectory = "mirror"', "usage.configuration"),
        (BUCKET.format("") + 'directory = "/srv"', "usage.configuration"),
        (BUCKET.format('endpoint = "http://s3.example", '), "usage.configuration"),
        (BUCKET.format('endpoint = "https://key:secret@s3.example", '), "usage.configuration"),
        (BUCKET.format('prefix = "/up", '), "format.schema"),
        (BUCKET.format('prefix = "a//", '), "format.schema"),
        (BUCKET.format("") + "max_age = 301", "format.schema"),
        (BUCKET.format("") * 2, "usage.configuration"),
        (HOOK, "format.schema"),
        (HOOK + 'url = "http://hooks.example/"', "usage.configuration"),
        (HOOK + 'url = "https://me:secret@hooks.example/"', "usage.configuration"),
        (HOOK + 'url = "https://hooks.example/#part"', "usage.configuration"),
        (HOOK + 'url = "https://hooks.example:port/"', "usage.configuration"),
        (HOOK + 'url = "ftp://127.0.0.1/"', "usage.configuration"),
        (HOOK + 'url = "https://hooks.example/"\ntopics = ["weather"]', "format.schema"),
        ((HOOK + 'url = "https://hooks.example/"\n') * 2, "usage.configuration"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(LoadlockError) as refusal:
        read(tmp_path, text)
    assert refusal.value.code == code
    assert "secret@" not in str(refusal.value)


@pytest.mark.parametrize("url", ["https://hooks.example/x?key=1", "http://127.0.0.1:9000/", "http://[::1]:9/a"])
def test_https_or_loopback_is_taken(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f'{HOOK}url = "{url}"').webhook[0].url == url
