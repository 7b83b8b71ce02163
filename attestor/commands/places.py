"""Where the commands find keys, servers and the files beside a wheel."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from attestor.commands.key_options import KEY, PUBLIC_KEY
from attestor.signing.signers import MAX_PUBLIC_KEY, KeySigner, load_signer, open_signer, without_signing
from verifier.deployment.place import find_deployment
from verifier.errors import Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats.dsse import MAX_SET
from verifier.formats.statement import MAX_STATEMENT
from verifier.formats.strict_json import loads
from verifier.judging.evidence import Role
from verifier.signatures.keys import PublicKey
from verifier.wheels.wheel import DEFAULT_LIMITS

SERVER = "LOADLOCK_SERVER"
MAX_RECORD = 64 * 1024


@dataclass(frozen=True)
class WheelFiles:
    """A wheel and the names of what lies beside it."""

    wheel: Path

    @property
    def attestations(self) -> Path:
        """The attestation set."""
        return self.wheel.with_name(f"{self.wheel.name}.attestations.jsonl")

    @property
    def unsigned(self) -> Path:
        """The manifest's statement that awaits its owner."""
        return self.wheel.with_name(f"{self.wheel.name}.manifest.unsigned.json")

    @property
    def log(self) -> Path:
        """What the build printed."""
        return self.wheel.with_name(f"{self.wheel.name}.build.log")

    def read_wheel(self) -> bytes:
        """The wheel's bytes; raises UsageError."""
        return read_capped(self.wheel, DEFAULT_LIMITS.archive, "the wheel")

    def read_attestations(self) -> bytes | None:
        """The set's bytes, None when there is none; raises UsageError."""
        if not self.attestations.exists():
            return None
        return read_capped(self.attestations, MAX_SET, "the attestation set")

    def write_attestations(self, attestations: bytes, read: bytes | None) -> None:
        """Put a set in the place of the one that it was made of.

        Checks run for many minutes, and people think before they sign: what another command has added meanwhile would
        be lost.

        Args:
            attestations: the new set.
            read: the bytes that :meth:`read_attestations` gave.

        Raises:
            Refused: ``set.changed``: there is another one now.
            Unreachable: ``io.failed``; UsageError.
        """
        if self.read_attestations() != read:
            raise Refused(
                "set.changed", "the attestation set was changed while something was added to it",
                found=f"another {self.attestations.name!a} than the one that was read", expected="the same bytes",
                todo="Run the command again: it adds to the set as it is now. Nothing was written.",
            )  # fmt: skip
        write_atomic(self.attestations, attestations)

    def read_unsigned(self) -> bytes:
        """The unsigned statement's bytes; raises UsageError where there is none, or where it cannot be read."""
        if not self.unsigned.exists():
            raise UsageError(
                "usage.unsigned", f"no manifest beside {self.wheel.name!a} awaits its owner",
                found=f"no {self.unsigned.name!a}",
                expected="the file that 'loadlock attest' leaves beside the wheel until its owner has signed",
            )  # fmt: skip
        return read_capped(self.unsigned, MAX_STATEMENT, "the unsigned manifest statement")


def deployment_if_any(given: str | None) -> Path | None:
    """The deployment's directory, when one was named or can be found."""
    try:
        return find_deployment(given)
    except UsageError:
        if given is not None:
            raise
        return None


def signer_for(role: str, args: argparse.Namespace, deployment: Path | None, otherwise: str = "") -> KeySigner:
    """The key to sign with: the one given, else ``$LOADLOCK_KEY``, else the demo deployment's for that role.

    Args:
        role: who signs.
        args: a command's, with the options of :func:`attestor.commands.key_options.add_key`.
        deployment: the deployment's directory, where its demo keys may be taken.
        otherwise: what else the command can do, for the advice.

    Raises:
        LoadlockError: as :func:`attestor.signing.signers.open_signer`; ``usage.key``: there is no key.
    """
    named = args.key or os.environ.get(KEY)
    public = args.public_key or os.environ.get(PUBLIC_KEY)
    if named:
        where = Path(public) if public else None
        return without_signing(named, where) if getattr(args, "dry_run", False) else open_signer(named, where)
    path = _principal(role, deployment)
    if path is None:
        raise UsageError(
            "usage.key", f"no key to sign with as the {role}", expected=f"--key FILE|URI or ${KEY}",
            todo=f"Make one with 'loadlock key new FILE'{otherwise}.",
        )  # fmt: skip
    return load_signer(path)


def public_keys(role: Role, given: list[str] | None, deployment: Path | None) -> list[PublicKey]:
    """The keys whose signatures in a role are expected: the PEM files given, else the demo deployment's.

    Raises:
        UsageError: ``usage.key``: none is known; what nobody vouches for is not signed under.
    """
    if given:
        return [PublicKey.from_pem(read_capped(Path(name), MAX_PUBLIC_KEY, "the public key")) for name in given]
    path = _principal(role, deployment)
    if path is None:
        raise UsageError(
            "usage.key", f"the {role}'s public key is not known", expected=f"--{role}-key FILE",
            todo=f"Ask the {role} for it on a way that you trust.",
        )  # fmt: skip
    return [load_signer(path).public_key]


def public_keys_if_any(role: Role, given: list[str] | None, deployment: Path | None) -> list[PublicKey]:
    """As :func:`public_keys`, of a role whose signature may still be missing: none when none is known."""
    return public_keys(role, given, deployment) if given or _principal(role, deployment) else []


def server_address(given: str | None, deployment: Path | None) -> str:
    """The server: the address given, else ``$LOADLOCK_SERVER``, else what the deployment's record says.

    Raises:
        UsageError: ``usage.configuration``.
    """
    named = given or os.environ.get(SERVER)
    if named:
        return named
    for record in (deployment / name for name in ("deployment.json", "host.json")) if deployment else ():
        if record.is_file():
            value = loads(read_capped(record, MAX_RECORD, record.name), limit=MAX_RECORD, what=record.name)
            if isinstance(value, dict) and isinstance(value.get("server"), str):
                return str(value["server"])
    raise UsageError("usage.configuration", "no server is known", expected=f"--server URL or ${SERVER}")


def deployment_id(given: str | None) -> str:
    """The id of the deployment that is here: what its record, or an enrolled host's, says.

    Raises:
        UsageError: ``usage.deployment``.
    """
    place = deployment_if_any(given)
    for record in (place / name for name in ("deployment.json", "host.json")) if place else ():
        if record.is_file():
            value = loads(read_capped(record, MAX_RECORD, record.name), limit=MAX_RECORD, what=record.name)
            if isinstance(value, dict) and isinstance(value.get("deployment"), str):
                return str(value["deployment"])
    raise UsageError("usage.deployment", "no deployment is here to say its id", expected="--deployment-id NAME")


def _principal(role: str, deployment: Path | None) -> Path | None:
    """A demo deployment keeps its signers' keys itself; no other one has them."""
    path = deployment / "principals" / f"{role}.pem" if deployment else None
    return path if path is not None and path.is_file() else None
