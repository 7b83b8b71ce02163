"""A deployment whose keys are rotated while real hosts follow it over loopback."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotation_review import Review, review, sign
from crl_server.trust.rotations import Kind, Wanted
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, made
from tests.crl_server.live import Live, address_of, listen
from verifier.deployment.home import InForce
from verifier.formats.text import Digest
from verifier.refreshing.refresh import Refresher, enroll


class World:
    """A deployment, its server, its offline keys by name, and hosts.

    Attributes:
        now: the one clock; python-tuf\'s client goes by the machine\'s as well, so it begins there.
    """

    def __init__(self, directory: Path, authority: Authority, live: Live, now: datetime) -> None:
        self.directory = directory
        self.authority = authority
        self.live = live
        self.now = now
        names = ("root-1", "root-2", "targets", "checkpoint-1", "checkpoint-2")
        self.keys = {name: SigningKey.read(authority.layout.offline / f"{name}.pem") for name in names}
        self._numbers = itertools.count()

    def key_file(self, name: str) -> Path:
        """An offline key as a file, as its holder has it."""
        path = self.fresh(f"key-{name}")
        self.keys[name].write(path)
        return path

    def public_file(self, key: SigningKey) -> Path:
        """A public key as a file."""
        path = self.fresh("public")
        public = load_der_public_key(key.public.spki)
        path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return path

    def fresh(self, what: str) -> Path:
        """A path that nothing is at yet."""
        return self.directory / f"{what}-{next(self._numbers)}"

    @property
    def root(self) -> Digest:
        """The fingerprint of the first root."""
        return self.authority.first_root()

    @property
    def online_key(self) -> SigningKey:
        """The key that signs snapshot and timestamp."""
        return SigningKey.read(self.authority.layout.online / "timestamp.pem")

    def prepared(self, kind: Kind, *replaced: str, above: int = 0) -> tuple[RotationDossier, dict[str, SigningKey]]:
        """Lay out a rotation that replaces the offline keys of these names; returns the new ones too."""
        new = {name: SigningKey.generate() for name in replaced}
        wanted = Wanted(
            [key.public for key in new.values()], [self.keys[name].public.id for name in replaced], above
        )  # fmt: skip
        directory = self.fresh("rotation")
        self.authority.rotations.prepare(kind, wanted, directory, ACTOR, self.now)
        return RotationDossier(directory), new

    def sign(self, dossier: RotationDossier, *keys: SigningKey) -> Review:
        """Review and sign with each key."""
        for key in keys:
            review(dossier, self.root, self.now)
            sign(dossier, key)
        return review(dossier, self.root, self.now)

    def rotate(self, kind: Kind, *replaced: str, by: tuple[str, ...] = (), above: int = 0) -> Review:
        """A whole rotation: laid out, signed by everybody it takes, put in force."""
        dossier, new = self.prepared(kind, *replaced, above=above)
        # Old root keys sign the root that replaces them; an old checkpoint key has no say in what comes.
        names = [name for name in by or SIGNERS[kind] if kind != "checkpoints" or name not in new]
        holders = [self.keys[name] for name in names]
        self.sign(dossier, *holders, *new.values())
        done = self.authority.publish_rotation(dossier, ACTOR, self.now)
        self.keys |= new
        return done

    def host(self, name: str) -> Host:
        """A new host, enrolled and not yet synchronised."""
        return Host(self, self.directory / f"host-{name}")


SIGNERS: dict[Kind, tuple[str, ...]] = {
    "root": ("root-1", "root-2"),
    "targets": ("root-1", "root-2"),
    "online": ("root-1", "root-2"),
    "checkpoints": ("targets", "checkpoint-1", "checkpoint-2"),
    "head": ("targets",),
    "enrolment": ("root-1", "root-2"),
}
"""Who signs, of those who held a key before; who gets one signs as well."""


REPLACED: dict[Kind, tuple[str, ...]] = {
    "root": ("root-1",),
    "targets": ("targets",),
    "checkpoints": ("checkpoint-2",),
    "online": (),
    "head": (),
    "enrolment": (),
}
"""Whose key is replaced, where the tests replace one."""


class Host:
    """One host; each synchronisation is that of a process of its own."""

    def __init__(self, world: World, directory: Path, fingerprint: Digest | None = None) -> None:
        self._world = world
        self.home = enroll(world.live.address, fingerprint or world.root, directory)

    def sync(self) -> InForce:
        """Fetch trust and list."""
        return Refresher(self.home).refresh(self._world.now, trust=True)


@contextmanager
def world(directory: Path) -> Iterator[World]:
    """A deployment that serves."""
    listening = listen()
    now = utc_now().replace(microsecond=0)
    authority = made(directory / "acme", now=now, server=address_of(listening))
    live = Live(authority, listening)
    live.now = now
    with live:
        yield World(directory, authority, live, now)
    authority.close()
