"""A mirror as it is shipped: nginx over a directory that the service exports to, and a host that knows nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from crl_server.export.exporter import Exporter
from crl_server.export.places import Directory
from crl_server.lists.public_files import IMMUTABLE, kind_of
from crl_server.service import Authority
from tests.crl_server.deployments import digest, made, revoke
from tests.deploy.nginx import NOW, Nginx
from tests.project.tree import ROOT
from tests.waiting import free_port
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex
from verifier.refreshing.refresh import Refresher, enroll

CONFIGURATION = ROOT / "deploy" / "nginx" / "mirror.conf"


class Mirror(NamedTuple):
    nginx: Nginx
    authority: Authority
    exporter: Exporter
    root: Path


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    port, directory = free_port(), tmp_path_factory.mktemp("mirror")
    authority = made(directory / "acme", now=NOW, server=f"https://127.0.0.1:{port}")
    revoke(authority, "first", now=NOW)
    root = directory / "tree"
    exporter = Exporter(authority, "mirror", Directory(root), timedelta(days=1))
    exporter.run(NOW)
    with Nginx(tmp_path_factory.mktemp("nginx"), CONFIGURATION, port, {"/srv/mirror": str(root)}) as nginx:
        yield Mirror(nginx, authority, exporter, root)
    authority.close()


def test_every_file_comes_with_what_caches_need(mirror: Mirror) -> None:
    names = [path.relative_to(mirror.root).as_posix() for path in mirror.root.rglob("*") if path.is_file()]
    assert len(names) >= 10
    for name in names:
        kind, answer = kind_of(name), mirror.nginx.get(name)
        assert kind is not None
        caching = IMMUTABLE if kind.caching == IMMUTABLE else "public, max-age=5, must-revalidate"
        assert (answer.status, answer.data) == (200, (mirror.root / name).read_bytes())
        assert (answer.headers["Cache-Control"], answer.headers["Content-Type"]) == (caching, kind.media_type)


@pytest.mark.parametrize("path", ["", "v1/stream", "v1/plugins", "metrics", "sets/", "lists/../../acme/policy.toml"])
def test_nothing_else_is_there(mirror: Mirror, path: str) -> None:
    assert mirror.nginx.get(path).status in {400, 404}


def test_a_trusted_root_is_among_what_is_served(mirror: Mirror) -> None:
    name = f"trust/targets/{'a' * 64}.trusted_root.public-good.json"
    path = mirror.root / name
    path.write_bytes(b"{}")
    assert mirror.nginx.get(name).headers["Cache-Control"] == IMMUTABLE
    path.unlink()


def test_a_host_enrols_and_follows(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(mirror.nginx.chain))
    fingerprint = f"sha256:{sha256_hex(mirror.authority.repository.root(1))}"
    refresher = Refresher(enroll(mirror.nginx.url, fingerprint, tmp_path / "host"))
    assert refresher.refresh(NOW).revocations.lists(Hex(digest("first").hex))
    revoke(mirror.authority, "second", now=NOW)
    mirror.exporter.run(NOW)
    assert refresher.refresh(NOW).revocations.lists(Hex(digest("second").hex))
