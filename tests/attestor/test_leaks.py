"""Nothing private gets into a statement: one plant of each kind, and what must not be mistaken for one."""

from __future__ import annotations

import pytest

from attestor.leaks import LeakGate, own_names, redact
from verifier.errors import Refused

# Taken apart, so that this file does not look like what it tests.
HOME = "/ho" + "me/alice/project"
KEY = "-----BEGIN EC PRIV" + "ATE KEY-----"


def refused(gate: LeakGate, document: object) -> Refused:
    with pytest.raises(Refused) as caught:
        gate.check(document, what="the SBOM")
    assert caught.value.code == "leak.found"
    return caught.value


@pytest.mark.parametrize(
    "leak",
    [
        "https://alice:hunter2@index.example/simple",
        "https://token@index.example/x",
        "git+ssh://git@host.example/a.git",
        "see https://host.example/a?token=abc",
        "https://store.example/x?a=b&sig=abc",
        "file:///somewhere/x.whl",
        "FILE:/somewhere",
        HOME,
        f"at {HOME}.",
        "/ro" + "ot/x",
        "/tmp/pip-build-1/x",
        "/var/tmp/x",
        "/Us" + "ers/alice/x",
        "C:\\Users\\alice",
        KEY,
        "gh" + "p_" + "a" * 36,
        "gl" + "pat-" + "a" * 20,
        "AK" + "IA" + "A" * 16,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "https://files.example/packages/x-1.0-py3-none-any.whl",
        "https://files.example/packages/x-1.0.tar.gz#sha256=00",
        "https://index.example/simple/x",
        "pkg:pypi/x@1.0?download_url=https://files.example/x",
    ],
)
@pytest.mark.parametrize("where", ["value", "key", "deep"])
def test_each_kind_of_leak_is_refused(leak: str, where: str) -> None:
    documents = {"value": {"a": leak}, "key": {leak: 1}, "deep": {"a": [{"b": [0, (leak,)]}]}}
    error = refused(LeakGate(names=(), paths=()), documents[where])
    assert leak not in str(error), "the error must not repeat what must not be told"


@pytest.mark.parametrize("text", ["built by alice", "ALICE", "on build-host-7", "x=build-host-7.corp.example"])
def test_names_of_user_and_machine_are_refused(text: str) -> None:
    refused(LeakGate(names=("alice", "build-host-7"), paths=()), {"a": text})


def test_own_directories_are_refused_wherever_they_lie() -> None:
    refused(LeakGate(names=(), paths=("/srv/builds",)), {"a": "see /srv/builds/1"})


def test_the_gate_knows_this_user_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "marguerite")
    monkeypatch.setenv("HOME", "/srv/people/marguerite")
    assert "marguerite" in own_names()
    refused(LeakGate(), {"a": "marguerite"})
    refused(LeakGate(), {"a": "/srv/people/marguerite/x"})


def test_the_place_of_a_leak_is_named() -> None:
    error = refused(LeakGate(names=(), paths=()), {"predicate": {"list": ["fine", HOME]}})
    assert "$.predicate.list[1]" in error.what


@pytest.mark.parametrize(
    "text",
    [
        "https://host.example/alicette/x",
        "https://loadlock.dev/buildtypes/python-wheel/v1",
        "git+https://host.example/a/b.git",
        "pkg:pypi/x@1.0",
        "/homepage",
        "path/home/x",
        "/tmpfiles.d/x",
        "profile:/x",
        "sha256:" + "a" * 64,
        "",
    ],
)
def test_what_gives_nothing_away_passes(text: str) -> None:
    LeakGate(names=("alice", "ci", "root"), paths=("/srv/builds", "/")).check({"a": text, "b": [1, None]}, what="x")


def test_a_name_that_the_owner_publishes_gives_nothing_away() -> None:
    LeakGate("https://host.example/alice/plugin.git", names=("alice",), paths=()).check({"a": "alice"}, what="x")


def test_paths_may_be_declared_where_that_is_the_point() -> None:
    gate = LeakGate(names=(), paths=())
    document = {"predicate": {"allowed_paths": ["/tmp/cache/"], "redaction": []}}
    gate.check(document, what="x", declared=("$.predicate.allowed_paths",))
    refused(gate, document)
    secret = {"predicate": {"allowed_paths": ["https://a:b@host.example"]}}
    with pytest.raises(Refused):
        gate.check(secret, what="x", declared=("$.predicate.allowed_paths",))


def test_what_a_person_sees_carries_no_credentials() -> None:
    assert (
        redact("fetching https://alice:hunter2@index.example/simple/") == "fetching https://***@index.example/simple/"
    )
