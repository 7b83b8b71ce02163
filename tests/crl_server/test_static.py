"""The static tree over real HTTP: what a cache may do, what is not there, and that a host can live on it.

On one engine: files are served, and no database is asked; how they come to lie there on both, test_publishing.py and
test_replicas.py hold.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crl_server.lists.public_files import KINDS
from tests.crl_server.deployments import digest, made, revoke
from tests.crl_server.live import Live, address_of, listen
from verifier.errors import Refused
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex
from verifier.refreshing.refresh import enroll, refresh

# python-tuf's client judges by the machine's clock, so this deployment is made now.
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    listening = listen()
    authority = made(tmp_path_factory.mktemp("static") / "acme", now=NOW, server=address_of(listening))
    revoke(authority, "first", now=NOW)
    (authority.layout.public / "sets").mkdir()
    authority.layout.set_file("a" * 64).write_bytes(b'{"a":1}\n')
    for path in (authority.layout.record_file(sha256_hex(b"{}")), authority.layout.release_file(Hex("a" * 64))):
        path.parent.mkdir()
        path.write_bytes(b"{}")
    (authority.layout.public / "notes.txt").write_text("not part of the tree")
    os.symlink(authority.layout.root / "online" / "head.pem", authority.layout.set_file("b" * 64))
    (authority.layout.public / "sets" / f"{'c' * 64}.jsonl").mkdir()
    with Live(authority, listening) as server:
        server.now = NOW
        yield server
    authority.close()


def paths(live: Live) -> list[str]:
    """The address of every file that belongs to the tree."""
    public = live.authority.layout.public
    files = (path for path in public.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(str(path.relative_to(public)) for path in files if path.name != "notes.txt")


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/notes.txt",
        "/lists",
        "/lists/",
        "/lists/head.json/",
        "//lists/head.json",
        "/lists//head.json",
        "/lists/./head.json",
        "/lists/segments/../head.json",
        "/lists/segments/%2e%2e/head.json",
        "/lists/head%2ejson%00",
        "/lists/head.json%0a",
        "/LISTS/head.json",
        f"/lists/segments/{'0' * 64}",
        f"/lists/segments/{'A' * 64}",
        f"/lists/segments/{'0' * 63}",
        f"/sets/{'b' * 64}.jsonl",  # a symbolic link
        f"/sets/{'c' * 64}.jsonl",  # a directory
        "/trust/metadata/0.root.json",
        "/trust/metadata/2.root.json",
        "/trust/metadata/01.root.json",
        "/trust/metadata/root.json",
        "/trust/metadata/\u0661.root.json",
        "/../deployment.json",
        "/..%2fdeployment.json",
        "/%2e%2e%2fonline%2fhead.pem",
        "/public/lists/head.json",
        "/sets/" + "a" * 5000,
    ],
)
def test_what_is_not_of_the_tree_is_not_there(live: Live, path: str) -> None:
    answer = live.send_raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.split()[1] in (b"404", b"400"), answer


def test_what_is_not_there_is_not_remembered(live: Live) -> None:
    assert live.ask("GET", "/trust/metadata/2.root.json").headers["cache-control"] == "no-store"


def test_nothing_is_written_through_the_tree(live: Live) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert live.ask(method, "/lists/head.json", body=b"x").status == 405


def test_every_file_of_the_tree_is_served_as_it_is(live: Live) -> None:
    found = paths(live)
    assert len(found) > 10
    for path in found:
        data = (live.authority.layout.public / path).read_bytes()
        answer = live.ask("GET", f"/{path}")
        assert (answer.status, answer.body) == (200, data)
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = live.ask("HEAD", f"/{path}")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))
        assert head.headers["etag"] == answer.headers["etag"]


def test_every_form_of_name_occurs(live: Live) -> None:
    assert [kind.names.pattern for kind in KINDS if not any(kind.names.fullmatch(path) for path in paths(live))] == []


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_what_a_client_has_is_not_sent_again(live: Live, form: str) -> None:
    for path in paths(live):
        tag = live.ask("GET", f"/{path}").headers["etag"]
        answer = live.ask("GET", f"/{path}", headers={"If-None-Match": form.format(tag)})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert live.ask("GET", f"/{path}", headers={"If-None-Match": '"other"'}).status == 200


def test_only_what_never_changes_may_be_kept(live: Live) -> None:
    changing = {"enrolment.json", "lists/head.json", "trust/metadata/timestamp.json", f"sets/{'a' * 64}.jsonl"}
    changing.add(f"releases/{'a' * 64}.json")
    for path in paths(live):
        caching = live.ask("GET", f"/{path}").headers["cache-control"]
        assert caching == ("no-cache" if path in changing else "public, max-age=31536000, immutable"), path


def test_media_types(live: Live) -> None:
    types = {path: live.ask("GET", f"/{path}").headers["content-type"] for path in paths(live)}
    assert types["lists/head.json"] == "application/json"
    assert types[f"sets/{'a' * 64}.jsonl"] == "application/jsonl"
    assert {kind for path, kind in types.items() if "/segments/" in path} == {"application/octet-stream"}


def test_a_host_enrols_refreshes_and_hears_of_a_revocation(live: Live, tmp_path: Path) -> None:
    root = live.authority.repository.root(1)
    bundle = live.authority.layout.enrolment
    served = bundle.read_bytes()
    with pytest.raises(Refused) as caught:
        enroll(live.address, "sha256:" + "0" * 64, tmp_path / "other")
    assert caught.value.code == "trust.root"
    home = enroll(live.address, f"sha256:{hashlib.sha256(root).hexdigest()}", tmp_path / "host")
    assert refresh(home, NOW).revocations.lists(digest("first"))
    assert not refresh(home, NOW).revocations.lists(digest("second"))
    seq = revoke(live.authority, "second", now=NOW)
    current = refresh(home, NOW)
    assert (current.revocations.head.seq, current.revocations.lists(digest("second"))) == (seq, True)
    office = live.authority.office()
    office.sign_policy(office.text(), "local:test", NOW)
    assert refresh(home, NOW).trust.policy.version == 2
    assert bundle.read_bytes() != served
