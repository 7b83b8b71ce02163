"""Locking and fetching, against a real package index on loopback that asks for a password."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.tags import Tag

from attestor.building.wheelhouse import LockedWheel, Wheelhouse, default_cache, hashed_requirements, prepare
from tests.wheels import Wheel, build_wheel
from verifier.errors import LoadlockError, Refused

SECRET = "hunter2"
ALPHA = build_wheel({"alpha.py": ""}, name="alpha", version="2.0", metadata_lines=["Requires-Dist: beta"])
BETA = build_wheel({"beta.py": ""}, name="beta", version="3.1")
OTHER_BETA = build_wheel({"beta.py": "evil"}, name="beta", version="3.1")


class Index(ThreadingHTTPServer):
    """A simple repository (PEP 503) of ``files``: project name to file name to content."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.served: list[str] = []

    def put(self, *wheels: Wheel) -> None:
        for wheel in wheels:
            self.files.setdefault(wheel.file_name.partition("-")[0], {})[wheel.file_name] = wheel.data

    @property
    def url(self) -> str:
        return f"http://alice:{SECRET}@127.0.0.1:{self.server_port}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"alice:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            self._answer(401, b"", [("WWW-Authenticate", 'Basic realm="index"')])
            return
        _, kind, project, *rest = self.path.split("/")
        files = self.server.files.get(project)
        if files is None:
            self._answer(404, b"")
        elif kind == "simple":
            links = [
                f'<a href="/files/{project}/{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>'
                for name, data in files.items()
            ]
            self._answer(200, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode())
        else:
            if self.command == "GET":
                self.server.served.append(rest[0])
            self._answer(200, files[rest[0]])

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response(status)
        for name, value in [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *(headers or [])]:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX"):
            monkeypatch.delenv(variable, raising=False)
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    return Wheelhouse(cache=tmp_path / "cache")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def locked(wheel: Wheel) -> LockedWheel:
    name, version = wheel.file_name.split("-")[:2]
    return LockedWheel(name, version, wheel.file_name, wheel.digest.removeprefix("sha256:"))


def error_of(action: object) -> LoadlockError:
    assert callable(action)
    with pytest.raises(LoadlockError) as caught:
        action()
    assert SECRET not in str(caught.value)
    return caught.value


# -- refused -----------------------------------------------------------------------------------------------------------


def test_what_the_index_does_not_have_is_refused(index: Index, house: Wheelhouse) -> None:
    assert error_of(lambda: house.resolve(["alpha"])).code == "build.unlocked"


def test_sources_are_never_taken_for_wheels(index: Index, house: Wheelhouse) -> None:
    index.files["alpha"] = {"alpha-2.0.tar.gz": b"x"}
    assert error_of(lambda: house.resolve(["alpha"])).code == "build.unlocked"
    assert index.served == []


def test_a_wheel_for_another_platform_is_refused(index: Index, house: Wheelhouse) -> None:
    index.put(build_wheel({"alpha.py": ""}, name="alpha", version="2.0", tag="cp27-cp27m-win32"))
    assert error_of(lambda: house.resolve(["alpha"])).code == "build.unlocked"


def test_an_index_that_is_down_is_unreachable(index: Index, house: Wheelhouse, into: Path) -> None:
    index.shutdown()
    index.server_close()
    assert error_of(lambda: house.resolve(["alpha"])).code == "unreachable.index"
    assert error_of(lambda: house.fetch([locked(BETA)], into)).code in {"unreachable.index", "build.unlocked"}


def test_an_index_that_swaps_a_file_after_locking_is_refused(index: Index, house: Wheelhouse, into: Path) -> None:
    index.put(BETA)
    found = house.resolve(["beta"])
    index.files["beta"][BETA.file_name] = OTHER_BETA.data
    error = error_of(lambda: house.fetch(found, into))
    assert isinstance(error, Refused)
    assert error.code == "build.unlocked"
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("text", ["-r other.txt", "--index-url https://host.example", "x @ file:///x.whl", "", "a b"])
def test_only_plain_requirements_reach_the_index(house: Wheelhouse, text: str) -> None:
    assert error_of(lambda: house.resolve([text])).code == "build.unlocked"


def test_a_local_wheelhouse_asks_nobody(index: Index, tmp_path: Path, into: Path) -> None:
    index.put(ALPHA, BETA)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ALPHA.file_name).write_bytes(ALPHA.data)
    local = Wheelhouse(folder, cache=tmp_path / "cache")
    assert error_of(lambda: local.resolve(["alpha"])).code == "build.unlocked"
    assert error_of(lambda: local.fetch([locked(BETA)], into)).code == "build.unlocked"
    assert index.served == []


def test_a_lock_without_hashes_prepares_nothing(index: Index, tmp_path: Path) -> None:
    index.put(BETA)
    (tmp_path / "lock").write_text("beta==3.1\n")
    assert error_of(lambda: prepare(tmp_path / "lock", tmp_path / "prepared")).code == "build.unlocked"
    assert list((tmp_path / "prepared").iterdir()) == []


# -- done --------------------------------------------------------------------------------------------------------------


def test_requirements_are_locked_without_a_word_about_the_index(index: Index, house: Wheelhouse) -> None:
    index.put(ALPHA, BETA)
    found = house.resolve(["Alpha>=1", "Alpha<3"])
    assert found == (locked(ALPHA), locked(BETA))
    assert SECRET not in repr(found)
    assert "127.0.0.1" not in repr(found)
    assert [wheel.purl for wheel in found] == ["pkg:pypi/alpha@2.0", "pkg:pypi/beta@3.1"]


def test_wheels_are_fetched_once(index: Index, house: Wheelhouse, into: Path) -> None:
    index.put(BETA)
    found = house.resolve(["beta"])
    index.served.clear()
    house.fetch(found, into)
    house.fetch(found, into)
    assert index.served == [BETA.file_name]
    assert (into / BETA.file_name).read_bytes() == BETA.data


def test_a_damaged_cache_is_not_used(index: Index, house: Wheelhouse, into: Path) -> None:
    index.put(BETA)
    found = house.resolve(["beta"])
    house.fetch(found, into)
    (cached,) = house.cache.rglob("*.whl")
    cached.write_bytes(OTHER_BETA.data)
    (into / BETA.file_name).unlink()
    house.fetch(found, into)
    assert (into / BETA.file_name).read_bytes() == BETA.data


def test_a_lock_is_prepared_once(index: Index, tmp_path: Path) -> None:
    index.put(ALPHA, BETA)
    lock = tmp_path / "lock"
    lock.write_text(hashed_requirements([locked(ALPHA), locked(BETA)]))
    place = prepare(lock, tmp_path / "prepared")
    assert {path.name for path in place.iterdir()} == {ALPHA.file_name, BETA.file_name}
    index.files.clear()
    assert prepare(lock, tmp_path / "prepared") == place


def test_what_was_prepared_for_another_interpreter_is_not_taken(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put(BETA)
    lock = tmp_path / "lock"
    lock.write_text(hashed_requirements([locked(BETA)]))
    place = prepare(lock, tmp_path / "prepared")
    monkeypatch.setattr("attestor.building.wheelhouse.sys_tags", lambda: iter([Tag("cp399", "cp399", "linux_x86_64")]))
    assert prepare(lock, tmp_path / "prepared") != place


def test_the_best_wheel_for_this_interpreter_is_chosen(index: Index, house: Wheelhouse) -> None:
    index.put(BETA, build_wheel({"beta.py": ""}, name="beta", version="3.1", tag="py3-none-linux_nowhere"))
    assert house.resolve(["beta"]) == (locked(BETA),)


def test_the_cache_lies_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOADLOCK_CACHE", str(tmp_path))
    assert default_cache() == tmp_path / "wheels"
    monkeypatch.delenv("LOADLOCK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "loadlock" / "wheels"


def test_what_cannot_be_had_leaves_a_collection_as_it_was(index: Index, house: Wheelhouse, tmp_path: Path) -> None:
    index.put(ALPHA, BETA)
    found = house.resolve(["alpha"])
    index.files["beta"] = {BETA.file_name: OTHER_BETA.data}
    kept = tmp_path / "collected"
    kept.mkdir()
    (kept / "other.whl").write_bytes(b"")
    with pytest.raises(LoadlockError) as caught:
        house.collect(found, kept)
    assert caught.value.code == "build.unlocked"
    assert [path.name for path in kept.iterdir()] == ["other.whl"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LoadlockError) as caught:
        house.collect(found, tmp_path / "file")
    assert caught.value.code == "io.failed"


def test_exactly_the_locked_wheels_are_collected(index: Index, house: Wheelhouse, tmp_path: Path) -> None:
    index.put(ALPHA, BETA)
    found = house.resolve(["alpha"])
    kept = tmp_path / "made" / "collected"
    kept.mkdir(parents=True)
    (kept / BETA.file_name).write_bytes(OTHER_BETA.data)
    house.collect(found, kept)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        ALPHA.file_name: ALPHA.data,
        BETA.file_name: BETA.data,
    }
