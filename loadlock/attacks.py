"""The demo's refusals: each attack is really made, on copies, and says which code must answer it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from loadlock.stage import Stage
from verifier.formats.bundle import dump_set, parse_set
from verifier.formats.statement import MANIFEST, parse_statement

SUFFIX = ".attestations.jsonl"


class Attack(NamedTuple):
    """A prepared attack: its name, the code that must answer, and the sentence that tells it."""

    name: str
    code: str
    sentence: str


UNSIGNED = Attack("unsigned", "set.missing", "The wheel alone, without its attestation set")
TAMPERED = Attack("tampered wheel", "subject.digest", "One byte of the wheel changed after signing")
SWAPPED = Attack("manifest swapped", "subject.digest", "The manifest of another plugin of the same owner put in")
FOREIGN_SIGNER = Attack("signer of another plugin", "signature.wrong-signer", "Endorsed by the owner of another plugin")
STALE = Attack("stale list", "list.stale", "Three days without news of revocations")
ROLLED_BACK = Attack("rolled-back list", "list.rollback", "An old, validly signed list served again")
FOREIGN_LIST = Attack(
    "list of another deployment", "list.deployment", "A list that the same key signed for another deployment"
)
REVOKED = Attack("revoked", "revoked.artifact", "The plugin after security staff revoked it")
RUNNING = Attack("running while revoked", "plugin.revoked", "The plugin that was loaded before, called once more")


def copy_of(wheel: Path, folder: Path, *, with_set: bool = True) -> Path:
    """A copy of a wheel in a folder of its own, with or without the set beside it."""
    folder.mkdir()
    if with_set:
        shutil.copy(wheel.with_name(wheel.name + SUFFIX), folder)
    return Path(shutil.copy(wheel, folder))


def tampered(wheel: Path, folder: Path) -> Path:
    """A copy of which one bit is changed."""
    copy = copy_of(wheel, folder)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    return copy


def with_manifest_of(wheel: Path, other: Path, folder: Path) -> Path:
    """A copy whose set holds the manifest of another wheel instead of its own."""
    copy = copy_of(wheel, folder)
    own, foreign = (parse_set(path.with_name(path.name + SUFFIX).read_bytes()) for path in (wheel, other))
    manifests = [b for b in foreign if parse_statement(b.envelope.unverified_payload).predicate_type == MANIFEST]
    kept = [b for b in own if parse_statement(b.envelope.unverified_payload).predicate_type != MANIFEST]
    copy.with_name(copy.name + SUFFIX).write_bytes(dump_set((*manifests, *kept)))
    return copy


def verify_later(stage: Stage, wheel: Path, delay: timedelta) -> None:
    """Verify as the host would after ``delay`` without any refresh.

    Raises:
        Refused: what the host refuses with.
    """
    from verifier.deployment.home import Home
    from verifier.gate import Gate

    moment = datetime.now(UTC) + delay
    Gate(Home(stage.host), clock=lambda: moment).verify(wheel)


@contextmanager
def head_replaced(stage: Stage, envelope: bytes) -> Iterator[None]:
    """While inside, the server hands out another head."""
    head = stage.operator / "public" / "lists" / "head.json"
    current = head.read_bytes()
    head.write_bytes(envelope)
    try:
        yield
    finally:
        head.write_bytes(current)


def head_for_another_deployment(stage: Stage) -> bytes:
    """The current head for a deployment of another name, signed with this one's own head key."""
    import json

    from crl_server.trust.signing import SigningKey
    from verifier.formats.dsse import HEAD, dump_envelope
    from verifier.signatures.private_keys import sign_envelope

    current = json.loads((stage.operator / "public" / "lists" / "head.json").read_bytes())
    payload = json.loads(base64.b64decode(current["payload"]))
    payload["deployment"] = "other"
    key = SigningKey.read(stage.operator / "online" / "head.pem")
    return dump_envelope(sign_envelope(HEAD, json.dumps(payload).encode(), ("", key)))
