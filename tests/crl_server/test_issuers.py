"""``issuers.toml``: whose tokens the operator takes, and what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from crl_server.access.issuers import read_issuers
from crl_server.access.oidc import Issuers
from tests.crl_server.deployments import NOW
from tests.hosts import code_of

GOOD = """
[[issuer]]
name = "ci"
url = "https://ci.example"
audience = "loadlock"
[[issuer.grant]]
roles = ["publisher"]
plugins = ["csv_exporter"]
claims = { project_id = "1" }
"""


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("[[issuer]]", "[[issuer", "format.syntax"),
        ('"1"', "1", "format.schema"),
        ('{ project_id = "1" }', "{}", "format.schema"),
        ('roles = ["publisher"]', "roles = []", "format.schema"),
        ('"publisher"', '"admin"', "format.schema"),
        ('name = "ci"', 'name = "CI !"', "format.schema"),
        ('name = "ci"', 'name = "ci"\nmore = 1', "format.schema"),
        ('audience = "loadlock"', "", "format.schema"),
        ("https://ci.example", "http://ci.example", "usage.configuration"),
        ("https://ci.example", "https://user@ci.example", "usage.configuration"),
        ("https://ci.example", "https://ci.example?x=1", "usage.configuration"),
        ("https://ci.example", "https://[ci.example", "usage.configuration"),
        ('plugins = ["csv_exporter"]\n', "", "usage.configuration"),
        ('"publisher"', '"revoker"', "usage.configuration"),
        (GOOD, GOOD + GOOD, "usage.configuration"),
        (GOOD, GOOD + GOOD.replace('"ci"', '"ci2"'), "usage.configuration"),
        (GOOD, GOOD + GOOD.replace("https://ci", "https://ci2"), "usage.configuration"),
        (GOOD, "#" * 65_537, "format.too-large"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, old: str, new: str, code: str) -> None:
    path = tmp_path / "issuers.toml"
    path.write_text(GOOD)
    assert [issuer.name for issuer in read_issuers(path)] == ["ci"]
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    assert code_of(lambda: read_issuers(path)) == code


def test_settings_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "issuers.toml"
    path.write_bytes(b"# caf\xe9")
    assert code_of(lambda: read_issuers(path)) == "format.encoding"


def test_without_the_file_there_are_no_issuers(tmp_path: Path) -> None:
    assert read_issuers(tmp_path / "issuers.toml") == ()
    assert code_of(lambda: Issuers(()).identify("a.b.c", NOW)) in {"auth.token", "format.syntax", "format.encoding"}
