"""Rotation on the service's side: laying one out to be signed, and putting it in force.

Putting in force, in an order that a crash cannot spoil:

1. everything is drawn up and verified as a host would; nothing is written
2. the audit log records it
3. one file, the journal, takes all that is to be written
4. the repository's files are written, the timestamp last; an online key takes its place; the journal is removed

A crash after 3 is mended when the deployment is next opened by :meth:`Rotations.resume`. Between the first and the last
file of 4 a host that asks is refused, keeps what it has, and asks again.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from tuf.api.metadata import Metadata

from crl_server.layout import Deployment
from crl_server.lists.public_tree import PublicTree
from crl_server.lists.publishing import Publisher
from crl_server.records.audit import Act
from crl_server.trust import policies
from crl_server.trust.draft import Draft
from crl_server.trust.offline import decode
from crl_server.trust.rotation_dossier import Plan, RotationDossier
from crl_server.trust.rotation_review import Review, judge
from crl_server.trust.rotations import Kind, Wanted, check, key_ids, missing, propose, signers
from crl_server.trust.signing import SigningKey
from crl_server.trust.trust_files import POLICY, target_name
from crl_server.trust.tuf_roles import Roles
from verifier.errors import Refused, Unreachable, UsageError
from verifier.files import read_capped, sync_directory, write_atomic
from verifier.formats.enrolment import Enrolment, Floor, dump_enrolment, encode_root
from verifier.formats.policy import MAX_POLICY, Policy, dump_policy, parse_policy
from verifier.formats.revocations import Head, sha256_hex
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Digest, Name, Time
from verifier.signatures.keys import PublicKey

HEAD_KEY_LIFE = timedelta(days=365)
"""How long a new head key may sign."""
MAX_JOURNAL = 64 * 1024 * 1024
"""Size cap of the journal in bytes."""
ONLINE = {"online": "timestamp", "head": "head"}
"""The file of the online key that a kind replaces."""


class Journal(Document, frozen=True, kw_only=True):
    """What is to be written: the repository's files in their order, online keys, the policy's text if it changes."""

    v: Literal[1]
    files: dict[str, str]
    keys: dict[str, str]
    policy: str | None


class Prepared(NamedTuple):
    """A rotation that was laid out, or would be: what changes, and who has to sign what."""

    directory: Path
    kind: Kind
    words: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]


class Rotations:
    """Rotates one deployment's keys.

    Args:
        tree: its public files.
        record: its description.
        publisher: publishes its list.
    """

    def __init__(self, tree: PublicTree, record: Deployment, publisher: Publisher) -> None:
        self._tree = tree
        self._layout = tree.layout
        self._store = tree.store
        self._record = record
        self._publisher = publisher
        self._repository = tree.repository

    # -- laying out ----------------------------------------------------------------------------------------------------

    def prepare(
        self, kind: Kind, wanted: Wanted, directory: Path, actor: str, now: datetime, *, dry_run: bool = False
    ) -> Prepared:
        """Lay a rotation out for its signers.

        Args:
            kind: what is rotated.
            wanted: which keys go and come; for ``online`` and ``head`` the key is made here.
            directory: where; it must not exist.
            actor: who prepares it.
            now: the moment (aware, UTC).
            dry_run: tell what would be laid out, and write nothing.

        Raises:
            UsageError: ``usage.arguments``, ``usage.key``, ``usage.exists``, ``usage.configuration``.
            Refused: ``trust.*``, ``rotation.unfounded`` when policy.toml holds changes that were not signed.
            FormatError: policy.toml is malformed.
            Unreachable: ``io.failed``.
        """
        if kind in (*ONLINE, "enrolment") and any(wanted):
            raise UsageError("usage.arguments", f"{kind!r} takes no keys and no versions")
        if wanted.above and kind != "targets":
            raise UsageError("usage.arguments", "--above is for 'targets' alone")
        if (wanted.added or wanted.threshold) and kind != "root":
            raise UsageError("usage.arguments", "--add and --threshold are for 'root' alone")
        if directory.exists():
            raise UsageError("usage.exists", "there is something already", found=str(directory))
        with self._tree.publishing():
            trust, before = self._repository.trust(), self._repository.roles()
            made = SigningKey.generate() if kind in ONLINE else None
            documents, words, lacking = self._documents(kind, wanted, before, made, now)
            if dry_run:
                return Prepared(directory, kind, words, lacking)
            with self._store.write() as ledger:
                digests = {name: sha256_hex(data) for name, data in documents.items()}
                ledger.record(Act(actor, "trust.prepare", kind, digests), now)
            if made is not None:
                made.write(self._new_key(kind, made.public.id))
            plan = Plan(v=1, kind=kind, deployment=Name(trust.deployment))
            RotationDossier(directory).create(plan, self._layout.trust, documents)
        return Prepared(directory, kind, words, lacking)

    def _documents(
        self, kind: Kind, wanted: Wanted, before: Roles, made: SigningKey | None, now: datetime
    ) -> tuple[dict[str, bytes], tuple[str, ...], dict[str, tuple[str, ...]]]:
        trust = self._repository.trust()
        if kind == "enrolment":
            head = self._publisher.read(trust, now).head
            return {"enrolment.json": self._enrolment(head, now)}, (), {"enrolment": ("the root keys",)}
        policy = b""
        until = trust.policy.valid_until.instant
        documents: dict[str, bytes] = {}
        if kind == "head" and made is not None:
            text = decode(read_capped(self._layout.policy, MAX_POLICY, "policy.toml"))
            old = SigningKey.read(self._layout.online / "head.pem").public.id
            text = policies.with_head_key(text, old, made.public, Time.of(now + HEAD_KEY_LIFE))
            new = policies.to_sign(text, self._record.deployment, trust.policy.version + 1, now)
            policy, until = dump_policy(new), new.valid_until.instant
            documents["policy.json"] = policy
        if kind == "online" and made is not None:
            wanted = Wanted(new=(made.public,))
        proposal = propose(kind, before, wanted, until, now, policy)
        words = check(kind, before, proposal, now)
        needed, lacking = signers(before, proposal), {}
        for name, signed in proposal._asdict().items():
            if signed is not None:
                metadata = Metadata(signed)
                documents[f"{name}.json"] = metadata.to_bytes()
                lacking[name] = missing(needed[name], metadata)
        return documents, words, lacking

    def _enrolment(self, head: Head, now: datetime) -> bytes:
        trust = self._repository.trust()
        floor = Floor(root=trust.root_version, targets=trust.targets_version, epoch=head.epoch, seq=head.seq)
        root = encode_root(self._repository.root(trust.root_version))
        return dump_enrolment(
            Enrolment(
                v=1, deployment=self._record.deployment, server=self._record.server, root=root, floor=floor,
                issued=Time.of(now),
            )
        )  # fmt: skip

    # -- putting in force ----------------------------------------------------------------------------------------------

    def publish(self, dossier: RotationDossier, actor: str, now: datetime, *, dry_run: bool = False) -> Review:
        """Put a signed rotation in force; the list that follows from it is the caller's business.

        Raises:
            Refused: ``rotation.signatures``, ``rotation.unfounded``, ``rotation.outdated``, ``trust.*``; nothing has
                changed.
            UsageError: ``usage.key`` when the new online key is not here.
            FormatError: a document is malformed.
            Unreachable: ``io.failed``.
        """
        with self._tree.publishing():
            found = judge(dossier, self._repository, now)
            if not found.complete:
                lacking = "; ".join(line for lines in found.missing.values() for line in lines)
                raise Refused("rotation.signatures", "not everybody has signed who has to", found=lacking)
            journal = self._journal(dossier, found.kind, now)
            if dry_run:
                return found
            with self._store.write() as ledger:
                detail: dict[str, object] = {"changes": [line.strip() for line in found.words][:40]}
                ledger.record(Act(actor, "trust.rotate", found.kind, detail), now)
            if found.kind == "enrolment":
                self._tree.put(self._layout.enrolment, dossier.envelope or b"")
                return found
            write_atomic(self._layout.journal, dumps(journal), mode=0o600)
            self._finish(journal)
        return found

    def resume(self) -> None:
        """Write what a crash has left unwritten.

        Raises:
            UsageError: ``io.failed``.
            FormatError: the journal is malformed.
            Unreachable: ``io.failed``.
        """
        if not self._layout.journal.is_file():
            return
        with self._tree.publishing():
            if self._layout.journal.is_file():  # another process may have been faster
                data = read_capped(self._layout.journal, MAX_JOURNAL, "rotation's journal")
                self._finish(parse(data, Journal, limit=MAX_JOURNAL, what="rotation's journal"))

    def _journal(self, dossier: RotationDossier, kind: Kind, now: datetime) -> Journal:
        """All that is to be written, verified as a host would."""
        trust, after, metadata = (
            self._repository.trust(),
            dossier.proposal.over(self._repository.roles()),
            dossier.metadata,
        )
        draft, keys, text = Draft(self._layout.trust), {}, None
        online = SigningKey.read(self._layout.online / "timestamp.pem")
        if kind == "online":
            (named,) = key_ids(after.root, "timestamp")
            online = self._made(kind, named)
            keys["timestamp.pem"] = self._new_key(kind, named).name
        if kind == "head":
            policy = parse_policy(dossier.policy)
            (named,) = {head.key for head in policy.head_keys} - {head.key for head in trust.policy.head_keys}
            keys["head.pem"] = self._new_key(kind, self._made(kind, named).public.id).name
            policies.check_head_key(policy, named, now)
            text = self._text_with(policy, named)
            draft.add(target_name(POLICY, sha256_hex(dossier.policy)), dossier.policy)
        for name in ("checkpoints", "targets", "root"):
            if name in metadata:
                draft.add(f"metadata/{metadata[name].signed.version}.{name}.json", metadata[name].to_bytes())
        if metadata:
            versions = {"targets": after.targets.version, "checkpoints": after.checkpoints.version}
            draft.announce(trust, after.root.version, versions, online, now)
        return Journal(v=1, files={name: data.decode() for name, data in draft.files.items()}, keys=keys, policy=text)

    def _finish(self, journal: Journal) -> None:
        for name, text in journal.files.items():
            self._tree.put(self._layout.trust / name, text.encode())
        if journal.policy is not None:
            write_atomic(self._layout.policy, journal.policy.encode())
        try:
            for name, made in journal.keys.items():
                if (self._layout.online / made).exists():  # it is in its place already, if a crash came after
                    os.replace(self._layout.online / made, self._layout.online / name)
            sync_directory(self._layout.online)
            self._layout.journal.unlink()
        except OSError as error:
            raise Unreachable("io.failed", "a key cannot be put in its place", found=error.strerror or "") from error

    # -- keys that are made here ---------------------------------------------------------------------------------------

    def _new_key(self, kind: Kind, key: Digest) -> Path:
        return self._layout.online / f"{ONLINE[kind]}.new-{key.hex[:12]}.pem"

    def _made(self, kind: Kind, named: Digest) -> SigningKey:
        """The key that was made when this was laid out."""
        key = SigningKey.read(self._new_key(kind, named))
        if key.public.id != named:
            raise UsageError("usage.key", "this is another key than the one that was signed for", found=key.public.id)
        return key

    def _text_with(self, policy: Policy, new: Digest) -> str:
        """policy.toml with the new head key in the place of the one that signs now."""
        text = decode(read_capped(self._layout.policy, MAX_POLICY, "policy.toml"))
        old = SigningKey.read(self._layout.online / "head.pem").public.id
        until = next(head.not_after for head in policy.head_keys if head.key == new)
        return policies.with_head_key(text, old, PublicKey.from_policy(policy.keys[new]), until)
