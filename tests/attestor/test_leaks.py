"""Nothing private gets into a statement: one plant of each kind, and what must not be mistaken for one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from attestor.checking.leaks import LeakGate, own_names, redact
from verifier.errors import Refused

# Taken apart, so that this file does not look like what it tests.
HOME = "/ho" + "me/alice/project"
KEY = "-----BEGIN EC PRIV" + "ATE KEY-----"
CREDENTIALS = [
    "-----BEGIN PGP PRIV" + "ATE KEY BLOCK-----",
    "PuTTY-User-Key-" + "File-3: ssh-ed25519",
    "AS" + "IA" + "A1" * 8,
    "gl" + "dt-" + "a" * 20,
    "gl" + "rt-t1_" + "a" * 20,
    "https://hooks.sl" + "ack.com/services/T00000000/B00000000/" + "X" * 24,
    "xa" + "pp-1-A0-1-" + "a" * 20,
    "AI" + "za" + "A" * 35,
    "ya" + "29." + "a" * 40,
    "np" + "m_" + "a" * 36,
    "sk_" + "live_" + "a" * 24,
    "sk-" + "ant-api03-" + "a" * 40,
    "sk-" + "proj-" + "aB3" * 16,
    "h" + "f_" + "aB" * 17,
    "dckr_" + "pat_" + "a" * 27,
    "dop_" + "v1_" + "a" * 64,
    "SG." + "a" * 22 + "." + "b" * 43,
    "hv" + "s." + "a" * 24,
    "da" + "pi" + "a1" * 16,
    "Endpoints=https;AccountName=x;Account" + "Key=" + "A" * 86 + "==",
    "AGE-SECRET-" + "KEY-1" + "Q" * 58,
    "https://alice:pa/ss@host.example/x",
    "//alice:hunter2@host.example/x",
    "git%2Bhttps%3A%2F%2Falice%3Ahunter2%40host.example",
    "https%253A%252F%252Falice%253Ahunter2%2540host.example",
    "https://store.example/x?X-Amz-Signature=abcdef123456",
    "https://host.example/x?api_key=abcdef",
    "https://host.example/x#access_token=abcdef",
    "Authorization: Bearer abcdef0123456789",
    "--index-token=s3cr3tvalue",
    "--password s3cr3tvalue",
    "password=hunter2xx",
]
PATHS = [
    "-I/ho" + "me/alice/include",
    "gcc -I/ho" + "me/alice/include",
    "/mnt/c/Us" + "ers/alice",
    "C:/Us" + "ers/alice/x",
    "c:\\us" + "ers\\alice",
    "\\\\fileserver\\share",
    "~alice/x",
    "/builds/group/project/x",
    "/github/workspace/x",
    "/__w/repo/x",
    "/var/lib/jenkins/workspace/x",
    "/Volumes/Work/x",
    "/dev/shm/x",
    "%2Fho" + "me%2Falice%2Fx",
]
ADDRESSES = [
    "https://index.example/simple",
    "https://index.example/simple?x=1",
    "https://index.example/team/dev/+simple/",
    "https://files.example/x-1.0.tgz",
    "https://files.example/x-1.0.tar.bz2",
    "s3://bucket/x-1.0-py3-none-any.whl",
    "ftp://files.example/x.tar.gz",
    "x @ https://files.example/x",
]


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
        *CREDENTIALS,
        *PATHS,
        *ADDRESSES,
    ],
)
@pytest.mark.parametrize("where", ["value", "key", "deep"])
def test_each_kind_of_leak_is_refused(leak: str, where: str) -> None:
    documents = {"value": {"a": leak}, "key": {leak: 1}, "deep": {"a": [{"b": [0, (leak,)]}]}}
    error = refused(LeakGate(names=(), paths=(), secrets=()), documents[where])
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


def test_the_directory_that_is_worked_in_is_a_path_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    refused(LeakGate(names=()), {"a": f"see {tmp_path.parent.name}{tmp_path}/x".replace(tmp_path.parent.name, "", 1)})


@pytest.mark.parametrize(
    "variable",
    ["CI_JOB_TOKEN", "NPM_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PYPI_API_KEY", "token", "PGPASSWORD", "MYSQL_PWD",
     "DEPLOY_PRIVATE_KEY", "STORAGE_CONNECTION_STRING"],
)  # fmt: skip
def test_what_the_environment_calls_secret_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "no-shape-anybody-knows")
    error = refused(LeakGate(names=(), paths=()), {"a": "built with no-shape-anybody-knows, twice"})
    assert "no-shape" not in str(error)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("KEYBOARD", "qwertyuiop"), ("PWD", "/srv/place"), ("TOKEN", "short"), ("LOADLOCK_KEY", "k.pem")],
)
def test_what_is_no_secret_of_the_environment(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    LeakGate(names=(), paths=()).check({"a": f"{value} and more"}, what="x")


@pytest.mark.parametrize(
    "name", ["password", "db_password", "token", "api_key", "apiKey", "auth.secret", "private_key"]
)
def test_a_credential_among_the_defaults_of_a_configuration(name: str) -> None:
    gate = LeakGate(names=(), paths=(), secrets=())
    for value in ("hunter2x", ["hunter2x"]):
        refused(gate, {"config_defaults": {"store": {name: value}}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", ""), ("password", "changeme"), ("token", "${ACME_TOKEN}"), ("token_url", "https://host.example/v2"),
        ("secret", "ACME_API_KEY"), ("secret", "the name of a secret, version 2"), ("tokens", "4096tokens"),
        ("keyboard", "azerty123"), ("api_key", "required"),
    ],
)  # fmt: skip
def test_the_name_of_a_secret_is_none(name: str, value: str) -> None:
    LeakGate(names=(), paths=(), secrets=()).check({"config_defaults": {name: value}}, what="x")


def test_the_place_of_a_leak_is_named() -> None:
    error = refused(LeakGate(names=(), paths=(), secrets=()), {"predicate": {"list": ["fine", HOME]}})
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
        "https://host.example:8443/repo.git@v1",
        "git+https://host.example:443/a@b",
        "git+https://host.example/a/b.git@v1.0#subdirectory=c",
        "pkg:pypi/token-bucket@1.0",
        "The password of the account, as a secret named by the host.",
        "token: a token for the API; password=<secret>",
        "sorted(rows, key=len)",
        "api_key=None",
        "password=${ACME_PASSWORD}",
        "Basic internationalisation of headers",
        "Apache-2.0 OR MIT",
        "~=1.2",
        "numpy~=1.26",
        "~/.cache",
        "https://people.example/~alicette/plugin",
        r"^[A-Za-z]:\\d+\\w+$",
        "a simple exporter / simple/fast",
        "https://docs.example/simple-start",
        "sk-learn-compatible",
        "glsl-shader-compiler-for-plugins",
        "100%25 of rows",
        "%d rows of %s",
        "CPython-3.11 linux-x86_64",
        "x==1.0",
    ],
)
def test_what_gives_nothing_away_passes(text: str) -> None:
    LeakGate(names=("alice", "ci", "root", "apache"), paths=("/srv/builds", "/")).check(
        {"a": text, "b": [1, None]}, what="x"
    )


def test_a_name_that_the_owner_publishes_gives_nothing_away() -> None:
    LeakGate("https://host.example/alice/plugin.git", names=("alice",), paths=()).check({"a": "alice"}, what="x")


def test_paths_may_be_declared_where_that_is_the_point() -> None:
    gate = LeakGate(names=(), paths=(), secrets=())
    document = {"predicate": {"allowed_paths": ["/tmp/cache/*"], "config_defaults": {"cache": "/tmp/cache/rows.csv"}}}
    gate.check(document, what="x", declared=["/tmp/cache/*"])
    refused(gate, document)


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("/tmp/cache", "/tmp/cache-of-alice/x"),
        ("/tmp/cache", f"/tmp/cache {HOME}"),
        ("/tmp/cache", "/tmp/other"),
        ("/tmp/cache", "https://a:b@host.example/tmp/cache"),
        ("/tmp/cache", "/tmp/cache https://files.example/x.whl"),
        ("/", "/tmp/x"),
        ("/*", "/tmp/x"),
        ("", "/tmp/x"),
    ],
)
def test_what_is_declared_excuses_nothing_else(declared: str, text: str) -> None:
    gate = LeakGate(names=(), paths=(), secrets=())
    with pytest.raises(Refused):
        gate.check({"a": text}, what="x", declared=[declared])


def test_what_a_person_sees_carries_no_credentials() -> None:
    assert (
        redact("fetching https://alice:hunter2@index.example/simple/") == "fetching https://***@index.example/simple/"
    )


@pytest.mark.parametrize(
    "unit",
    [
        "a.",
        "a://",
        "//a:b",
        "https://a",
        "eyJ-",
        "-----BEGIN ",
        "authorization: a ",
        "--token ",
        "\\\\a",
        "~a",
        "%25",
        " @ a",
    ],
)
def test_what_is_made_to_be_searched_for_ever_is_searched_once(unit: str) -> None:
    with contextlib.suppress(Refused):
        LeakGate(names=("alice",), paths=("/srv/builds",), secrets=()).check({"a": unit * 20_000}, what="x")
