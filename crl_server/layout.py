"""Where things lie in an operator's deployment directory, and the small record that describes it.

deployment.json       which deployment this is
policy.toml           the policy as people write it
trusted-roots/        Sigstore trusted roots that a policy names, by their sha256
offline/              keys that leave this machine (0700): root-1, root-2, targets, checkpoint-1, checkpoint-2
online/               keys that stay (0700): timestamp, head
principals/           demo profile only: builder, owner, certifier
server/               loadlock.sqlite or database.toml, settings.toml, issuers.toml, the locks of who publishes and of
                      who does the chores;
                      rotation.json for moments; restored.json in what came from a backup until it is opened
public/               the static tree: trust/, lists/, sets/, records/, releases/, enrolment.json

Everything under ``public`` may be served by any web server, or copied to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from crl_server.lists.rules import HEAD_LIFE
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.enrolment import ServerUrl
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Duration, Hex, Name, Time

MAX_RECORD = 64 * 1024
"""Size cap of ``deployment.json`` in bytes."""
DEFAULT_LIFE = Duration(f"PT{int(HEAD_LIFE.total_seconds()) // 3600}H")

OFFLINE_KEYS = ("root-1", "root-2", "targets", "checkpoint-1", "checkpoint-2")
ONLINE_KEYS = ("timestamp", "head")
PRINCIPALS = ("builder", "owner", "certifier")


class Deployment(Document, frozen=True, kw_only=True):
    """``deployment.json``: the deployment's id, its server's address, and how long a head is valid."""

    v: Literal[1]
    deployment: Name
    server: ServerUrl
    created: Time
    head_life: Duration = DEFAULT_LIFE

    @property
    def life(self) -> timedelta:
        """How long a head is valid."""
        return self.head_life.span


@dataclass(frozen=True)
class Layout:
    """The paths of one deployment directory."""

    root: Path

    @property
    def record(self) -> Path:
        """``deployment.json``."""
        return self.root / "deployment.json"

    @property
    def policy(self) -> Path:
        """The policy as people write it."""
        return self.root / "policy.toml"

    def trusted_root(self, sha256: str) -> Path:
        """A Sigstore trusted root that a policy names or named, by the sha256 of its content (64 digits)."""
        return self.root / "trusted-roots" / f"{sha256}.json"

    @property
    def offline(self) -> Path:
        """The directory of offline keys."""
        return self.root / "offline"

    @property
    def online(self) -> Path:
        """The directory of online keys."""
        return self.root / "online"

    @property
    def principals(self) -> Path:
        """The demo profile's signers."""
        return self.root / "principals"

    @property
    def database(self) -> Path:
        """The embedded database."""
        return self.root / "server" / "loadlock.sqlite"

    @property
    def database_address(self) -> Path:
        """Where another database is; it need not exist, and is secret."""
        return self.root / "server" / "database.toml"

    @property
    def issuers(self) -> Path:
        """Whose OpenID Connect tokens are taken; it need not exist."""
        return self.root / "server" / "issuers.toml"

    @property
    def settings(self) -> Path:
        """How this server runs; it need not exist."""
        return self.root / "server" / "settings.toml"

    @property
    def lock(self) -> Path:
        """The lock file of the one process that publishes."""
        return self.root / "server" / "publish.lock"

    @property
    def chores_lock(self) -> Path:
        """The lock file of the one process that signs again, exports and tells."""
        return self.root / "server" / "chores.lock"

    @property
    def journal(self) -> Path:
        """What a rotation has yet to write; it exists for moments, or after a crash."""
        return self.root / "server" / "rotation.json"

    @property
    def restored(self) -> Path:
        """The note that all of this came from a backup; it is gone once the database knows."""
        return self.root / "server" / "restored.json"

    @property
    def public(self) -> Path:
        """The static tree."""
        return self.root / "public"

    @property
    def trust(self) -> Path:
        """The TUF repository."""
        return self.public / "trust"

    @property
    def head(self) -> Path:
        """The signed head."""
        return self.public / "lists" / "head.json"

    @property
    def enrolment(self) -> Path:
        """The enrolment bundle."""
        return self.public / "enrolment.json"

    def list_file(self, kind: str, sha256: Hex) -> Path:
        """A content-addressed file of the list; ``kind`` is ``segments``, ``bases`` or ``rules``."""
        return self.public / "lists" / kind / sha256

    def set_file(self, sha256: str) -> Path:
        """The attestation set of the wheel with that digest."""
        return self.public / "sets" / f"{Hex(sha256)}.jsonl"

    def record_file(self, sha256: Hex) -> Path:
        """The RECORD of that digest."""
        return self.public / "records" / sha256

    def release_file(self, key: Hex) -> Path:
        """The list of a release's wheels, by :func:`verifier.formats.release.release_key`."""
        return self.public / "releases" / f"{key}.json"

    def deployment(self) -> Deployment:
        """Read ``deployment.json``.

        Raises:
            UsageError: ``usage.deployment`` when this is no operator's deployment directory.
            FormatError: it is malformed.
        """
        if not self.record.is_file():
            raise UsageError(
                "usage.deployment", "this is not the directory of a deployment's operator", found=str(self.root)
            )
        data = read_capped(self.record, MAX_RECORD, "deployment record")
        return parse(data, Deployment, limit=MAX_RECORD, what="deployment.json")


def dump_deployment(deployment: Deployment) -> bytes:
    """Write ``deployment.json``."""
    return dumps(deployment) + b"\n"
