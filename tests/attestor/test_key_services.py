"""Keys that lie in a token or a service, through the command line: what is refused, and one plugin from end to end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestor.building.build import BuildResult
from loadlock.testing.loopback import Loopback
from tests.attestor.advisories import advisory, write
from tests.attestor.conftest import EXAMPLE, make_repository
from tests.attestor.key_services import KEY_ID, PIN, Services, Token, libraries
from tests.attestor.shell import Shell, Worker
from verifier.signatures.keys import PublicKey

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed() -> Path:
    return libraries()


@pytest.fixture(scope="module")
def token(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Token:
    if shutil.which("softhsm2-util") is None and os.environ.get("CI") != "true":
        pytest.skip("tools/system_packages.sh could not install softhsm2")
    return Token(tmp_path_factory.mktemp("token"), installed)


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture(scope="module")
def worker(installed: Path) -> Iterator[Worker]:
    """A process that can import the clients of all services."""
    with Worker(str(installed)) as process:
        yield process


@pytest.fixture(scope="module")
def bare_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A process that can import none; the project's own tests bring the client of one for other ends."""
    place = tmp_path_factory.mktemp("bare")
    (place / "boto3.py").write_text("raise ImportError('not installed')\n")
    with Worker(str(place)) as process:
        yield process


@pytest.fixture
def shell(tmp_path: Path, worker: Worker, token: Token, services: Services) -> Shell:
    """A shell with all services, in an empty directory."""
    return Shell(worker, tmp_path, {**token.environ, **services.environ}, (PIN, "secret-of-aws", "secret-of-vault"))


@pytest.fixture
def attest(tmp_path: Path, built: BuildResult) -> list[str | Path]:
    """The shortest command that signs, less its key."""
    (tmp_path / built.file_name).write_bytes(built.wheel)
    manifest = EXAMPLE / "PLUGIN_MANIFEST.json"
    return ["attest", "--wheel", built.file_name, "--manifest", manifest, "-o", "dist"]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_the_public_key_has_to_be_named(shell: Shell, attest: list[str | Path]) -> None:
    status, code, said = shell.refused(*attest, "--key", Token.uri)
    assert (status, code) == (2, "usage.key")
    assert "--public-key" in said
    assert "loadlock key fetch" in said


@pytest.mark.parametrize("uri", [Token.uri, "awskms:release", "hv:release/1"])
def test_a_signature_by_another_key_than_the_one_named_is_refused(
    shell: Shell, attest: list[str | Path], uri: str
) -> None:
    algorithm = "ed25519" if uri.startswith("hv:") else "ecdsa-p256"
    shell.ok("key", "new", "other.pem", "--alg", algorithm)
    status, code, _ = shell.refused(*attest, "--key", uri, "--public-key", "other.pem.pub")
    assert (status, code) == (1, "signer.wrong-key")
    assert not (shell.place / "dist").exists()


def test_a_service_that_answers_nonsense_is_refused(shell: Shell, attest: list[str | Path], services: Services) -> None:
    shell.ok("key", "fetch", "awskms:release", "kms.pub")
    services.sabotage = lambda signature: signature[:-1]
    status, code, _ = shell.refused(*attest, "--key", "awskms:release", "--public-key", "kms.pub")
    assert (status, code) == (1, "signer.wrong-key")
    assert not (shell.place / "dist").exists()


@pytest.mark.parametrize("uri", ["awskms:release", "hv:release/1"])
def test_a_service_that_hangs_is_waited_for_no_longer_than_asked(
    shell: Shell, attest: list[str | Path], services: Services, uri: str
) -> None:
    shell.ok("key", "fetch", uri, "service.pub")
    services.hang = True
    hurried = shell.with_(LOADLOCK_KEY_DEADLINE="1")
    status, code, said = hurried.refused(*attest, "--key", uri, "--public-key", "service.pub")
    assert (status, code) == (3, "unreachable.signer")
    assert "within 1 s" in said
    assert not (shell.place / "dist").exists()


def test_a_service_that_is_not_there(shell: Shell, attest: list[str | Path]) -> None:
    shell.ok("key", "fetch", "hv:release/1", "vault.pub")
    nowhere = shell.with_(VAULT_ADDR="http://127.0.0.1:1")
    status, code, said = nowhere.refused(*attest, "--key", "hv:release/1", "--public-key", "vault.pub")
    assert (status, code) == (3, "unreachable.signer")
    assert "VAULT_ADDR" in said


@pytest.mark.parametrize("uri", ["awskms:absent", "hv:absent/1", f"hsm:{KEY_ID + 9}", "hsm:1?label=absent"])
def test_a_key_that_is_not_there(shell: Shell, uri: str) -> None:
    assert shell.refused("key", "fetch", uri, "absent.pub")[:2] == (2, "signer.failed")
    assert not (shell.place / "absent.pub").exists()


def test_a_key_of_another_kind_is_not_fetched(shell: Shell) -> None:
    assert shell.refused("key", "fetch", f"hsm:{KEY_ID + 1}", "p384.pub")[:2] == (1, "usage.key")
    assert not (shell.place / "p384.pub").exists()


def test_pins(shell: Shell, attest: list[str | Path]) -> None:
    shell.ok("key", "fetch", Token.uri, "token.pub")
    key = ("--key", Token.uri, "--public-key", "token.pub")
    status, code, said = shell.with_(LOADLOCK_KEY_PIN="0").refused(*attest, *key)
    assert (status, code) == (2, "signer.failed")
    assert "PinIncorrect" in said
    without = shell.with_(LOADLOCK_KEY_PIN="")
    status, code, said = without.refused(*attest, *key)
    assert (status, code) == (2, "usage.key")
    assert "LOADLOCK_KEY_PIN_FILE" in said
    file = shell.place / "pin"
    file.write_text(f"{PIN}\n")
    file.chmod(0o644)
    assert without.with_(LOADLOCK_KEY_PIN_FILE=str(file)).refused(*attest, *key)[:2] == (2, "usage.key")
    file.chmod(0o600)
    without.with_(LOADLOCK_KEY_PIN_FILE=str(file)).ok(*attest, *key)


@pytest.mark.parametrize(
    ("uri", "extra", "algorithm"),
    [
        ("hsm:7", "hsm", "ecdsa-p256"),
        ("awskms:release", "awskms", "ecdsa-p256"),
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "gcpkms", "ecdsa-p256"),
        ("azurekms://v.vault.azure.net/keys/k/1", "azurekms", "ecdsa-p256"),
        ("hv:release/1", "vault", "ed25519"),
    ],
)
def test_without_its_library_a_service_says_what_to_install(
    shell: Shell, bare_worker: Worker, attest: list[str | Path], uri: str, extra: str, algorithm: str
) -> None:
    bare = replace(shell, worker=bare_worker)
    bare.ok("key", "new", "some.pem", "--alg", algorithm)
    for command in ([*attest, "--key", uri, "--public-key", "some.pem.pub"], ["key", "fetch", uri, "fetched.pub"]):
        status, code, said = bare.refused(*command)
        assert (status, code) == (2, "usage.extra")
        assert f"pip install 'securesystemslib[{extra}]'" in said


# -- done --------------------------------------------------------------------------------------------------------------


def test_a_key_is_fetched_once_and_over_nothing(shell: Shell, services: Services) -> None:
    done = shell.ok("key", "fetch", "hv:release/1", "vault.pub")
    public = PublicKey.from_pem((shell.place / "vault.pub").read_bytes())
    assert public.spki == PublicKey(services.vault.public_key()).spki
    assert (done["id"], done["algorithm"]) == (public.id, "ed25519")
    assert shell.refused("key", "fetch", "hv:release/1", "vault.pub")[:2] == (2, "usage.exists")


def test_every_role_signs_with_a_key_elsewhere_and_a_host_verifies(shell: Shell, build_wheels: Path) -> None:
    """Builder: a PKCS#11 token. Owner: Vault. Certifier: AWS KMS."""
    uris = {"builder": Token.uri, "owner": "hv:release/1", "certifier": "awskms:release"}
    for role, uri in uris.items():
        shell.ok("key", "fetch", uri, f"{role}.pub")
    source = make_repository(shell.place / "csv-exporter", content=EXAMPLE)
    wheel = shell.place / "dist" / WHEEL

    def key(role: str) -> list[str]:
        return ["--key", uris[role], "--public-key", f"{role}.pub"]

    shell.ok("attest", source, "-o", "dist", "--build-wheelhouse", build_wheels, "--once", *key("builder"))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    write(shell.place / "osv", {"a.json": advisory(modified=now)})
    shell.ok("check", "vulnerabilities", wheel, "--osv-db", "osv", *key("builder"))
    named = ("--builder-key", "builder.pub")
    shell.ok("endorse", wheel, *key("owner"), *named)
    owner = ("--owner-key", "owner.pub")
    terms = ("--tier", "core", "--expires", "2999-01-01", "--yes")
    shell.ok("certify", wheel, *terms, *key("certifier"), *named, *owner)
    shell.ok("rebuild", wheel, "--source", source, "--wheelhouse", build_wheels, *key("certifier"), *named)
    shell.ok("verify", wheel, "--deployment", _host(shell, list(uris)), "--tier", "core")


def _host(shell: Shell, roles: list[str]) -> Path:
    """A host of a deployment whose policy names the roles' public keys."""
    operator = shell.place / "operator"
    with Loopback() as server:
        root = shell.ok("init", operator, "--id", "acme", "--profile", "production", "--server", server.url)["root"]
        for role in roles:
            tier = ("--max-tier", "core") if role == "certifier" else ()
            words = ("trust", "add-principal", role, "--public-key", f"{role}.pub", *tier)
            shell.ok(*words, "--deployment", operator)
        plugin = [word for role in roles for word in (f"--{role}", role)]
        shell.ok("trust", "add-plugin", "csv_exporter", *plugin, "--deployment", operator)
        public = operator / "public"
        files = [path for path in public.rglob("*") if path.is_file()]
        server.files.update({str(path.relative_to(public)): path.read_bytes() for path in files})
        shell.ok("host", "enroll", server.url, "--root", root, "--deployment", shell.place / "host")
    return shell.place / "host"
