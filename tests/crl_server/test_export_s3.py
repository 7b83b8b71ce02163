"""Exports to storage of S3's kind: headers, conditions, and every way in which the storage fails.

On one engine: what an export reads is the public tree on disk, and what it asks of the database test_export.py holds
against both.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from crl_server.export.exporter import Exporter
from crl_server.export.s3 import S3
from crl_server.export.worker import ExportWorker, exporters
from crl_server.lists.public_files import HEAD, IMMUTABLE, kind_of
from crl_server.service import Authority
from crl_server.settings import Bucket, Export
from tests.crl_server.copies import contents, read_copy
from tests.crl_server.deployments import DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.storage import BUCKET, ENVIRONMENT, Storage, storage
from tests.waiting import until
from verifier.errors import LoadlockError
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex, Name
from verifier.refreshing.refresh import Refresher, enroll


@pytest.fixture(scope="module")
def running() -> Iterator[Storage]:
    with storage() as found:
        yield found


@pytest.fixture
def bucket(running: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    running.reset()
    return running


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    revoke(new, "first")
    yield new
    new.close()


def export(endpoint: str, **more: Any) -> Export:
    return Export(name=Name("cdn"), s3=Bucket(bucket=BUCKET, prefix="lists-of/acme/", endpoint=endpoint, **more))


def exporter(authority: Authority, endpoint: str, **more: Any) -> Exporter:
    (found,) = exporters(authority, [export(endpoint, **more)])
    return found


def place(endpoint: str, **more: Any) -> S3:
    settings = export(endpoint, **more)
    assert settings.s3 is not None
    return S3(settings.s3, settings.max_age)


def download(bucket: Storage, root: Path) -> Path:
    """The whole bucket below the prefix, as files."""
    client = bucket.client()
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        path = root / entry["Key"].removeprefix("lists-of/acme/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
    return root


def test_the_bucket_says_what_the_tree_says(authority: Authority, bucket: Storage, tmp_path: Path) -> None:
    exporter(authority, bucket.endpoint).run(NOW)
    found = download(bucket, tmp_path / "copy")
    assert read_copy(found).lists(digest("first"))
    tree = contents(authority.layout.public)
    assert {name: data for name, data in contents(found).items() if tree.get(name) != data} == {}


def test_every_object_says_how_long_it_may_be_kept(authority: Authority, bucket: Storage) -> None:
    exporter(authority, bucket.endpoint).run(NOW)
    pool = urllib3.PoolManager()
    seen = set()
    for entry in bucket.client().list_objects_v2(Bucket=BUCKET)["Contents"]:
        kind = kind_of(entry["Key"].removeprefix("lists-of/acme/"))
        assert kind is not None
        answer = pool.request("GET", f"{bucket.endpoint}/{BUCKET}/{entry['Key']}")
        expected = IMMUTABLE if kind.caching == IMMUTABLE else "public, max-age=5, must-revalidate"
        assert (answer.headers["Cache-Control"], answer.headers["Content-Type"]) == (expected, kind.media_type)
        assert answer.headers["ETag"]
        seen.add(kind)
    assert len(seen) == 5
    pool.clear()


def test_a_second_server_writes_nothing_again(authority: Authority, bucket: Storage) -> None:
    exporter(authority, bucket.endpoint).run(NOW)
    assert exporter(authority, bucket.endpoint).run(NOW).written == 0


def test_what_is_unused_goes_and_other_objects_stay(authority: Authority, bucket: Storage) -> None:
    client = bucket.client()
    for name in ("lists-of/acme/trust/metadata/99.targets.json", "lists-of/acme/robots.txt", "else/1.root.json"):
        client.put_object(Bucket=BUCKET, Key=name, Body=b"{}")
    exporter(authority, bucket.endpoint).run(NOW)
    authority.maintain(NOW + DAY)
    assert exporter(authority, bucket.endpoint).run(NOW + DAY).removed == 1
    keys = {entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert "lists-of/acme/trust/metadata/99.targets.json" not in keys
    assert {"lists-of/acme/robots.txt", "else/1.root.json"} <= keys


def test_a_head_that_another_server_wrote_meanwhile_is_not_overwritten(authority: Authority, bucket: Storage) -> None:
    kind = kind_of(HEAD)
    assert kind is not None
    ours = place(bucket.endpoint)
    assert ours.read(HEAD) is None
    ours.replace(HEAD, b"1", kind, None)
    held = ours.read(HEAD)
    place(bucket.endpoint).replace(HEAD, b"2", kind, held)
    for stale in (held, None):
        with pytest.raises(LoadlockError) as refusal:
            ours.replace(HEAD, b"3", kind, stale)
        assert refusal.value.code == "export.conflict"
    again = ours.read(HEAD)
    assert again is not None
    assert again.data == b"2"
    place(bucket.endpoint, conditional=False).replace(HEAD, b"4", kind, held)


def test_a_newer_list_of_another_server_is_not_set_back(authority: Authority, bucket: Storage, tmp_path: Path) -> None:
    old = authority.layout.head.read_bytes()
    revoke(authority, "second")
    exporter(authority, bucket.endpoint).run(NOW)
    authority.layout.head.write_bytes(old)
    authority.publisher._last = None
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, bucket.endpoint).run(NOW)
    assert refusal.value.code == "export.behind"
    assert read_copy(download(bucket, tmp_path / "copy")).lists(digest("second"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "export.denied"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "export.denied"),
    ],
)
def test_wrong_credentials_are_told_of_without_the_secret(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], code: str
) -> None:
    for name, value in (ENVIRONMENT | change).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    with storage(INITIAL_NO_AUTH_ACTION_COUNT="0") as strict, pytest.raises(LoadlockError) as refusal:
        exporter(authority, strict.endpoint).run(NOW)
    assert refusal.value.code == code
    assert "test-key" not in str(refusal.value)


def test_a_bucket_that_is_not_there_is_told_of(authority: Authority, bucket: Storage) -> None:
    bucket.client().delete_bucket(Bucket=BUCKET)
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, bucket.endpoint).run(NOW)
    assert refusal.value.code == "export.denied"


def test_a_profile_that_is_not_there_is_refused(authority: Authority, bucket: Storage) -> None:
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, bucket.endpoint, profile="nobody")
    assert refusal.value.code == "usage.configuration"


class Cutting:
    """Stands before the storage, and cuts a connection off once so many bytes of requests have gone through it."""

    def __init__(self, target: int, after: int) -> None:
        self._target, self.left = target, after
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Cutting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            while self.left > 0 and (data := client.recv(1024)):
                taken = data[: self.left]
                self.left -= len(taken)
                server.sendall(taken)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_an_upload_that_breaks_off_leaves_a_copy_that_verifies(
    authority: Authority, bucket: Storage, tmp_path: Path
) -> None:
    exporter(authority, bucket.endpoint).run(NOW)
    codes = []
    for after in range(100, 20_000, 900):
        revoke(authority, after)
        with Cutting(bucket.port, after) as way:
            try:
                exporter(authority, way.endpoint).run(NOW)
            except LoadlockError as error:
                codes.append(error.code)
            else:
                break
        assert read_copy(download(bucket, tmp_path / str(after))).lists(digest("first"))
    assert len(codes) > 3
    assert set(codes) == {"unreachable.storage"}
    assert read_copy(download(bucket, tmp_path / "whole")).head.seq == len(codes) + 2


def test_storage_that_is_down_holds_nobody_up_and_is_caught_up_with(
    authority: Authority, bucket: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.stop()
    worker = ExportWorker(authority, exporter(authority, bucket.endpoint), lambda: NOW, look=0.01, first_pause=0.01)
    try:
        with worker:
            until(lambda: worker.state.failures > 1)
            revoke(authority, "second")
            assert authority.standing(NOW).revocations.lists(digest("second"))
            assert worker.state.code == "unreachable.storage"
            assert worker.state.lag(NOW + HOUR) == HOUR
            bucket.start()
            bucket.reset()
            until(lambda: worker.state.seq == 2)
            assert (worker.state.code, worker.state.lag(NOW)) == ("", timedelta(0))
            revoke(authority, "third")
            until(lambda: worker.state.seq == 3)
    finally:
        if bucket.stopped:
            bucket.start()
    assert read_copy(download(bucket, tmp_path / "copy")).lists(digest("third"))
    said = [record.message for record in caplog.records if record.name == "crl_server.export"]
    assert any("lags behind" in line and "unreachable.storage" in line for line in said)
    assert "the export cdn works again" in said


def test_a_host_follows_the_bucket(bucket: Storage, tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)  # python-tuf's client judges by the machine's clock
    url = f"{bucket.endpoint}/{BUCKET}/lists-of/acme"
    authority = made(tmp_path / "acme", now=now, server=url)
    exporting = exporter(authority, bucket.endpoint)
    exporting.run(now)
    home = enroll(url, f"sha256:{sha256_hex(authority.repository.root(1))}", tmp_path / "host")
    refresher = Refresher(home)
    assert not refresher.refresh(now).revocations.lists(Hex(digest("first").hex))
    revoke(authority, "first", now=now)
    assert not refresher.refresh(now).revocations.lists(Hex(digest("first").hex))
    exporting.run(now)
    assert refresher.refresh(now).revocations.lists(Hex(digest("first").hex))
    authority.close()
