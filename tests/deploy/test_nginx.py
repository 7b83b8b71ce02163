"""The nginx configuration as it is shipped, run by Debian's nginx before a real server: hosts live behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from crl_server.access.tokens import create_token
from crl_server.api.bodies import MAX_UPLOAD
from crl_server.service import Authority
from tests.crl_server.deployments import digest, made, revoke
from tests.crl_server.test_push import Pushing
from tests.deploy.nginx import NOW, Nginx
from tests.project.tree import ROOT
from tests.waiting import free_port, until
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex, Name
from verifier.refreshing.push import announcements
from verifier.refreshing.refresh import Refresher, enroll
from verifier.refreshing.transport import Transport

CONFIGURATION = ROOT / "deploy" / "nginx" / "loadlock.conf"


class Site(Nginx):
    """nginx with the shipped configuration, before a server."""

    def __init__(self, directory: Path, behind: Pushing, port: int) -> None:
        self.behind = behind
        changes = {
            "127.0.0.1:8600": behind.address.removeprefix("http://"),
            "/var/lib/loadlock/public": str(behind.authority.layout.public),
        }
        super().__init__(directory, CONFIGURATION, port, changes)

    def __enter__(self) -> Site:
        super().__enter__()
        return self


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, int]]:
    port = free_port()
    authority = made(tmp_path_factory.mktemp("nginx") / "acme", now=NOW, server=f"https://127.0.0.1:{port}")
    revoke(authority, "first", now=NOW)
    (authority.layout.public / "sets").mkdir()
    authority.layout.set_file("a" * 64).write_bytes(b'{"a":1}\n')
    content = b"{}"
    for path in (authority.layout.record_file(sha256_hex(content)), authority.layout.release_file(Hex("a" * 64))):
        path.parent.mkdir()
        path.write_bytes(content)
    (authority.layout.public / "notes.txt").write_text("not part of the tree")
    os.symlink(authority.layout.root / "online" / "head.pem", authority.layout.set_file("b" * 64))
    yield authority, port
    authority.close()


@pytest.fixture(scope="module")
def site(authority: tuple[Authority, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        Pushing(authority[0]) as behind,
        Site(tmp_path_factory.mktemp("site"), behind, authority[1]) as running,
    ):
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "lists/", "notes.txt", "sets", f"sets/{'b' * 64}.jsonl", f"sets/{'a' * 63}.jsonl", "../online/head.pem",
        "lists/../../online/head.pem", "lists/%2e%2e/%2e%2e/online/head.pem", "trust/metadata/0.root.json",
        f"lists/segments/{'A' * 64}", "healthz", "readyz", "lists/head.json/", "server/loadlock.sqlite",
    ],
)  # fmt: skip
def test_what_is_not_of_the_tree_is_not_there(site: Site, path: str) -> None:
    assert site.get(path).status in {400, 403, 404}


def test_the_console_is_passed_on_with_its_own_headers(site: Site) -> None:
    away = site.get("")
    assert (away.status, away.headers["location"]) == (303, "/console/")  # whatever port the world sees
    page = site.get("console/login")
    assert "content-security-policy" in page.headers
    assert page.headers["cache-control"] == "no-store"


def test_every_file_comes_as_the_server_itself_hands_it_out(site: Site) -> None:
    public = site.behind.authority.layout.public
    paths = [path for path in public.rglob("*") if path.is_file() and not path.is_symlink()]
    direct = urllib3.PoolManager()
    seen = set()
    for path in sorted(str(path.relative_to(public)) for path in paths if path.name != "notes.txt"):
        ours, theirs = direct.request("GET", f"{site.behind.address}/{path}"), site.get(path)
        assert (ours.status, ours.data) == (theirs.status, theirs.data), path
        for header in ("Cache-Control", "Content-Type", "X-Content-Type-Options"):
            assert ours.headers[header] == theirs.headers[header], (path, header)
        seen.add(re.sub(r"[0-9a-f]{64}|\d+", "*", path))
    assert len(seen) >= 9
    direct.clear()


def test_no_two_heads_look_alike_to_a_conditional_request(site: Site) -> None:
    tags = site.get("lists/head.json").headers
    assert ("ETag" in tags, "Last-Modified" in tags) == (False, False)
    before = site.get("lists/head.json").data
    site.behind.authority.publisher._last = None
    status = os.stat(site.behind.authority.layout.head)
    revoke(site.behind.authority, "second", now=NOW)
    os.utime(site.behind.authority.layout.head, ns=(status.st_atime_ns, status.st_mtime_ns))  # within one second
    again = site.get("lists/head.json", **{"If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"})
    assert again.status == 200
    assert again.data != before


def test_the_cap_on_uploads_is_above_the_servers_own() -> None:
    megabytes = re.search(r"client_max_body_size (\d+)m;", CONFIGURATION.read_text("utf-8"))
    assert megabytes is not None
    assert int(megabytes[1]) * 1024 * 1024 >= MAX_UPLOAD


def test_the_api_is_passed_on(site: Site) -> None:
    assert site.get("v1/plugins").status == 401
    with site.behind.authority.store.write() as ledger:
        token = create_token(ledger, Name("reader"), ("auditor",), timedelta(days=1), NOW)
    answer = site.get("v1/plugins", Authorization=f"Bearer {token}")
    assert (answer.status, answer.json()["plugins"]) == (200, [])


def test_a_host_enrols_refreshes_and_hears_the_stream(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.chain))
    authority = site.behind.authority
    fingerprint = f"sha256:{sha256_hex(authority.repository.root(1))}"
    home = enroll(site.url, fingerprint, tmp_path / "host")
    refresher = Refresher(home)
    assert refresher.refresh(NOW).revocations.lists(Hex(digest("first").hex))
    stream = Transport(site.url).stream("/v1/stream")
    news = announcements(stream)
    assert next(news).head == authority.layout.head.read_bytes()
    revoke(authority, "third", now=NOW)
    pushed = next(news)
    assert refresher.refresh(NOW, offer=pushed).revocations.lists(Hex(digest("third").hex))
    stream.end()
    stream.close()


def test_signing_in_has_a_measure_and_nothing_else_has(site: Site) -> None:
    """The last test of the module: it uses its address's measure up."""
    for path in ("console/login", "console/login/nobody", "console/login/nobody/return"):
        until(lambda path=path: site.get(path).status == 429, 30)  # type: ignore[misc]
    assert [site.get(path).status for path in ("console/", "v1/plugins", "lists/head.json")] == [303, 401, 200]
