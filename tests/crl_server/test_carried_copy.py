"""``trust export``: the public tree as one file, and a host without a network that goes by it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from crl_server.export.carried import write_copy
from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from tests.crl_server.copies import contents
from tests.crl_server.deployments import digest, made, revoke
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_cli import refused, run
from verifier.clock import utc_now as clock
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.refreshing.carried import copy_at

NOW = utc_now().replace(microsecond=0)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    authority = made(tmp_path / "acme", now=NOW)
    admit(authority, subject("plugin"))
    revoke(authority, "first", now=NOW)
    authority.close()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    return tmp_path / "acme"


def revoked(deployment: Path, name: str) -> None:
    with closing(Authority(deployment)) as authority:
        revoke(authority, name, now=NOW)


def root_of(deployment: Path) -> str:
    with closing(Authority(deployment)) as authority:
        return authority.first_root()


def host(*words: object, place: Path) -> dict[str, object]:
    found: dict[str, object] = run(*words, "--deployment", place)
    return found


def test_what_is_carried_is_what_is_exported(deployment: Path, tmp_path: Path) -> None:
    said = run("trust", "export", tmp_path / "copy.tar")
    run("export", "--to", tmp_path / "tree")
    expected = contents(tmp_path / "tree")
    assert (said["seq"], said["files"]) == (1, len(expected))
    assert said["size"] == (tmp_path / "copy.tar").stat().st_size
    with copy_at(tmp_path / "copy.tar") as source:
        assert {name: source.get(f"/{name}", len(data)).body for name, data in expected.items()} == expected


def test_the_same_tree_is_the_same_bytes(deployment: Path, tmp_path: Path) -> None:
    for name in ("one.tar", "other.tar"):
        run("trust", "export", tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme", "one.tar", "other.tar"]


def test_it_says_until_when_hosts_take_it(deployment: Path, tmp_path: Path) -> None:
    said = run("trust", "export", tmp_path / "copy.tar")
    timestamp = json.loads((deployment / "public" / "trust" / "metadata" / "timestamp.json").read_bytes())
    assert said["until"] == timestamp["signed"]["expires"]


def test_a_host_enrols_and_follows_by_what_is_carried_alone(deployment: Path, tmp_path: Path) -> None:
    first, second, place = tmp_path / "first.tar", tmp_path / "second.tar", tmp_path / "host"
    run("trust", "export", first)
    root = root_of(deployment)
    assert host("host", "enroll", "--from", first, "--root", root, place=place)["seq"] == 1
    revoked(deployment, "second")
    run("trust", "export", second)
    assert host("trust", "import", second, place=place)["seq"] == 2
    assert Home(place).in_force(clock()).revocations.lists(digest("second"))
    before = Home(place).state()
    assert refused("trust", "import", first, "--deployment", place).code == "list.rollback"
    (tmp_path / "half.tar").write_bytes(second.read_bytes()[:-100])
    assert refused("trust", "import", tmp_path / "half.tar", "--deployment", place).code == "copy.damaged"
    assert refused("host", "sync", "--from", tmp_path / "nothing", "--deployment", place).code == "io.failed"
    assert Home(place).state() == before
    run("export", "--to", tmp_path / "tree")
    assert host("host", "sync", "--from", tmp_path / "tree", place=place)["seq"] == 2


def test_a_stateless_host_is_made_from_what_is_carried(deployment: Path, tmp_path: Path) -> None:
    run("trust", "export", tmp_path / "copy.tar")
    root = root_of(deployment)
    words = ("host", "enroll", "--from", tmp_path / "copy.tar", "--root", root, "--stateless")
    host(*words, place=tmp_path / "host")
    assert Home(tmp_path / "host").host.stateless
    assert Home(tmp_path / "host").host.floor.seq == 1


@pytest.mark.parametrize("words", [(), ("https://loadlock.example", "--from", "copy.tar")])
def test_either_server_or_copy_is_enrolled_from(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "copy.tar").mkdir()
    here = [str(tmp_path / word) if word == "copy.tar" else word for word in words]
    found = refused("host", "enroll", *here, "--root", "sha256:" + "0" * 64, "--deployment", tmp_path / "host")
    assert found.code == "usage.arguments"


def test_what_cannot_be_written_leaves_the_copy_before(deployment: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.tar").mkdir()
    (tmp_path / "copy.tar" / "kept").write_bytes(b"")
    assert refused("trust", "export", tmp_path / "copy.tar").code == "io.failed"
    assert refused("trust", "export", tmp_path / "nowhere" / "copy.tar").code == "io.failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme", "copy.tar"]


def test_what_does_not_verify_is_not_carried(deployment: Path, tmp_path: Path) -> None:
    with closing(Authority(deployment)) as authority:
        path = deployment / "public" / "lists" / "head.json"
        path.write_bytes(path.read_bytes().replace(b"payload", b"paylaod", 1))
        with pytest.raises(LoadlockError):
            write_copy(authority, tmp_path / "copy.tar", NOW)
    assert not (tmp_path / "copy.tar").exists()
