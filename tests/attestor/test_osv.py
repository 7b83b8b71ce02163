"""An operator's own database: what cannot be read is counted and named, what is affected is found, all under caps."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from attestor.checking import osv
from attestor.checking.osv import Database, read_database
from tests.attestor.advisories import MODIFIED, advisory, ranged, write
from tests.project.tree import ROOT
from verifier.errors import UsageError
from verifier.formats.findings import NEVER

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def read(place: Path, files: dict[str, Any]) -> Database:
    place.mkdir(exist_ok=True)
    return read_database(write(place, files), NOW)


def zipped(place: Path, files: dict[str, Any]) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return place


def code_of(place: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_database(place, NOW)
    return caught.value.code


# -- refused -----------------------------------------------------------------------------------------------------------


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no zip")
    assert code_of(tmp_path / "absent") == "usage.arguments"
    assert code_of(tmp_path / "text") == "usage.arguments"


@pytest.mark.parametrize(
    ("old", "new"), [(b"PK\x01\x02\x14\x03\x14\x00", b"PK\x01\x02\x14\x03\x40\x00"), (b"X-1.json", b"X-\xff.json")]
)
def test_a_zip_of_another_kind_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    # Of a later version; and with a name that says that it is UTF-8, and is not.
    data = zipped(tmp_path / "db.zip", {"X-1.json": advisory()}).read_bytes()
    flagged = bytearray(data.replace(old, new))
    central = flagged.index(b"PK\x01\x02")
    flagged[central + 9] |= 0x08
    (tmp_path / "db.zip").write_bytes(flagged)
    assert code_of(tmp_path / "db.zip") == "usage.arguments"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "db.zip", "w") as archive:
        archive.writestr("X-1.json", json.dumps(advisory()))
        archive.writestr("X-1.json", json.dumps(advisory(withdrawn=MODIFIED)))
    assert code_of(tmp_path / "db.zip") == "usage.arguments"


@pytest.mark.parametrize("cap", ["MAX_ADVISORIES", "MAX_DATABASE"])
def test_the_caps_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str) -> None:
    write(tmp_path / "db", {"a.json": advisory("A"), "b.json": advisory("B")})
    monkeypatch.setattr(osv, cap, 1)
    assert code_of(tmp_path / "db") == "format.too-large"


def test_a_zip_over_its_cap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv, "MAX_ZIP", 1)
    assert code_of(zipped(tmp_path / "db.zip", {})) == "format.too-large"


# -- not read, and said so ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "about"),
    [
        (b"", set()),
        (b"{", set()),
        (b"[]", set()),
        (b'"text"', set()),
        (b'{"id":"A","id":"B"}', set()),
        (advisory(modified="yesterday"), {"alpha"}),
        (advisory(modified="2026-13-01T00:00:00Z"), {"alpha"}),
        (advisory(modified=None), {"alpha"}),
        (advisory(schema_version="2.0.0"), {"alpha"}),
        (advisory(id=None), {"alpha"}),
        (advisory(""), {"alpha"}),
        (advisory(aliases="CVE-1"), {"alpha"}),
        (advisory(affected=[*ranged(package="Al.Pha"), "text"]), {"al-pha"}),
        (advisory(affected=[{"package": {"ecosystem": "npm", "name": "alpha"}}, 7]), set()),
        (advisory(affected=[{"package": {"ecosystem": "PyPI", "name": 7}}]), set()),
        (advisory(affected={}), set()),
    ],
)
@pytest.mark.parametrize("zip_it", [False, True])
def test_what_cannot_be_read_is_counted_and_named(tmp_path: Path, content: Any, about: set[str], zip_it: bool) -> None:
    files = {"good.json": advisory("GOOD", "beta"), "bad.json": content}
    found = read_database(zipped(tmp_path / "db.zip", files), NOW) if zip_it else read(tmp_path / "db", files)
    assert found.unread == ("bad.json",)
    assert found.unknown == about
    assert found.unplaced == (0 if about else 1)
    assert found.count == 1


def test_advisories_in_another_notation_are_not_overlooked(tmp_path: Path) -> None:
    found = read(tmp_path, {"vulns/alpha/X-1.yaml": b"id: X-1", "README.md": b"about", ".ci/jobs.yml": b"a: b"})
    assert (found.count, found.unread, found.newest) == (0, ("vulns/alpha/X-1.yaml",), NEVER)


@pytest.mark.parametrize("zip_it", [False, True])
def test_an_advisory_over_its_cap_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zip_it: bool) -> None:
    files = {"big.json": advisory(details="x" * 5000), "small.json": advisory("SMALL")}
    monkeypatch.setattr(osv, "MAX_ADVISORY", 4000)
    found = read_database(zipped(tmp_path / "db.zip", files), NOW) if zip_it else read(tmp_path / "db", files)
    assert (found.unread, found.unplaced, found.count) == (("big.json",), 1, 1)


def test_a_damaged_entry_is_not_read(tmp_path: Path) -> None:
    place = zipped(tmp_path / "db.zip", {"a.json": advisory(details="text " * 500)})
    data = bytearray(place.read_bytes())
    data[60:70] = bytes(10)
    place.write_bytes(data)
    assert read_database(place, NOW).unread == ("a.json",)


@pytest.mark.parametrize(
    "affected",
    [
        [{"package": {"ecosystem": "PyPI", "name": "alpha"}}],
        ranged(("introduced", "0"), kind="GIT"),
        ranged(("fixed", "2.0")),
        ranged(("introduced", "0"), ("fixed", "not a version")),
        ranged(),
    ],
)
def test_what_cannot_be_evaluated_makes_its_package_unknown(tmp_path: Path, affected: Any) -> None:
    found = read(tmp_path, {"a.json": advisory(affected=affected), "b.json": advisory("B", "beta")})
    assert (set(found.unknown), found.count, found.unread) == ({"alpha"}, 2, ())
    assert found.matches("alpha", Version("1.5")) == []


def test_nothing_from_the_future_makes_a_database_recent(tmp_path: Path) -> None:
    late = advisory("LATE", "beta", modified="2099-01-01T00:00:00Z")
    found = read(tmp_path, {"a.json": advisory(), "late.json": late})
    assert found.newest == MODIFIED
    assert [match.advisory.id for match in found.matches("beta", Version("1.5"))] == ["LATE"]


# -- read --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("0.9", False),
        ("1.0.dev1", False),
        ("1.0", True),
        ("2.0.9", True),
        ("2.1rc1", True),
        ("2.1", False),
        ("9", False),
    ],
)
def test_a_range_holds_what_was_introduced_and_not_yet_fixed(tmp_path: Path, version: str, affected: bool) -> None:
    found = read(tmp_path, {"a.json": advisory(package="Al_Pha")})
    assert bool(found.matches("al-pha", Version(version))) is affected


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("0.0.dev1", True),
        ("1.4", True),
        ("1.5", True),
        ("1.5.post1", False),
        ("1.9", False),
        ("2.0", True),
        ("3.0", False),
    ],
)
def test_events_count_in_the_order_of_versions(tmp_path: Path, version: str, affected: bool) -> None:
    events = ranged(("fixed", "3.0"), ("introduced", "2.0"), ("last_affected", "1.5"), ("introduced", "0"))
    found = read(tmp_path, {"a.json": advisory(affected=events)})
    assert bool(found.matches("alpha", Version(version))) is affected


def test_versions_that_are_listed_are_affected(tmp_path: Path) -> None:
    listed = {"package": {"ecosystem": "PyPI", "name": "alpha"}, "versions": ["1.0.0", "0.1-legacy-r7"]}
    found = read(tmp_path, {"a.json": advisory(affected=[listed])})
    assert found.matches("alpha", Version("1.0"))
    assert not found.matches("alpha", Version("1.1"))
    assert found.unknown == frozenset()


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("1.5+cpu", True),
        ("1.4+cpu", True),
        ("1.6+cpu", False),
        ("2.0+1", True),
        ("2.1+cpu.1", False),
        ("2.1+cpu", True),
    ],
)
def test_a_local_version_is_affected_as_its_public_one(tmp_path: Path, version: str, affected: bool) -> None:
    events = ranged(("introduced", "0"), ("last_affected", "1.5"), ("introduced", "2.1+cpu"), ("fixed", "2.1+cpu.1"))
    listed = {"package": {"ecosystem": "PyPI", "name": "alpha"}, "versions": ["2.0"]}
    found = read(tmp_path, {"a.json": advisory(affected=[*events, listed])})
    assert bool(found.matches("alpha", Version(version))) is affected


def test_withdrawn_and_foreign_advisories_match_nothing(tmp_path: Path) -> None:
    foreign = [{"package": {"ecosystem": "npm", "name": "alpha"}, "versions": ["1.5"]}]
    found = read(tmp_path, {"a.json": advisory(withdrawn=MODIFIED), "b.json": advisory("B", affected=foreign)})
    assert (found.count, found.matches("alpha", Version("1.5"))) == (2, [])


def test_what_mends_it_is_gathered_from_all_its_ranges(tmp_path: Path) -> None:
    affected = ranged(("introduced", "1"), ("fixed", "2.1")) + ranged(("introduced", "1.5"), ("fixed", "1.9"))
    found = read(tmp_path, {"a.json": advisory(affected=affected)})
    (match,) = found.matches("alpha", Version("1.6"))
    assert [str(version) for version in match.fixed] == ["1.9", "2.1"]


def test_the_digest_is_that_of_the_list_of_files_in_a_directory_and_in_a_zip(tmp_path: Path) -> None:
    files = {"z/b.json": advisory("B"), "a.json": advisory("A", modified="2026-01-30T12:00:00.123456Z")}
    found = read(tmp_path / "db", files)
    listed = "".join(
        f"{hashlib.sha256(json.dumps(files[name]).encode()).hexdigest()}  {name}\n" for name in ("a.json", "z/b.json")
    )
    assert found.digest == f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"
    assert (found.count, found.newest, found.unread) == (2, MODIFIED, ())
    assert read_database(zipped(tmp_path / "db.zip", files), NOW).digest == found.digest
    assert read(tmp_path / "db", {"a.json": advisory("C")}).digest != found.digest


def test_the_digest_is_what_the_command_of_the_page_prints(tmp_path: Path) -> None:
    files = {"z/b.json": advisory("B"), "a.json": advisory("A"), "Z a.json": advisory("C"), ".git/x.json": b"{"}
    found = read(tmp_path, files)
    page = (ROOT / "docs" / "spec" / "vulnerabilities.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ (find .*)$", page, re.MULTILINE)
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"sha256:{done.stdout.split()[0]}" == found.digest
