"""What takes offline keys: signing the policy, and the enrolment bundle. Run by a person, never by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from crl_server.layout import Deployment
from crl_server.lists.public_tree import PublicTree
from crl_server.lists.publishing import Publisher
from crl_server.records.audit import Act
from crl_server.trust import policies
from crl_server.trust.rotations import key_ids
from crl_server.trust.signing import SigningKey
from verifier.deployment.trust import Trust
from verifier.deployment.tuf_chain import TRUSTED_ROOT_LIMIT
from verifier.errors import FormatError, Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats import dsse
from verifier.formats.enrolment import Enrolment, Floor, dump_enrolment, encode_root
from verifier.formats.policy import MAX_POLICY, Policy, dump_policy
from verifier.formats.revocations import Head, sha256_hex
from verifier.formats.text import Digest, Name, Time
from verifier.signatures.private_keys import sign_envelope
from verifier.signatures.sigstore_root import check_trusted_root

ROOT_KEYS = ("root-1.pem", "root-2.pem")


@dataclass(frozen=True)
class Signed:
    """What a signing led to.

    Attributes:
        policy: the policy that is in force now.
        enrolment: whether the enrolment bundle was signed anew; it is not when the root keys are elsewhere.
    """

    policy: Policy
    enrolment: bool


class Office:
    """Signs with offline keys for one deployment.

    Args:
        tree: the deployment's public files.
        record: its description.
        publisher: publishes its list.
        keys: where the offline keys are now.
    """

    def __init__(self, tree: PublicTree, record: Deployment, publisher: Publisher, keys: Path) -> None:
        self._tree = tree
        self._layout = tree.layout
        self._store = tree.store
        self._record = record
        self._publisher = publisher
        self._keys = keys
        self._repository = tree.repository

    def text(self) -> str:
        """``policy.toml`` as it is.

        Raises:
            UsageError: ``io.failed``.
            FormatError: ``format.encoding``.
        """
        return decode(read_capped(self._layout.policy, MAX_POLICY, "policy.toml"))

    def check_policy_key(self) -> None:
        """Demand that the policy's offline key is here.

        Raises:
            UsageError: ``usage.key``, ``io.failed``.
        """
        self._repository.check_policy_key(self._key("targets.pem"))

    def sign_policy(self, text: str, actor: str, now: datetime, why: str = "") -> Signed:
        """Sign a policy, put it in force, and keep its text as ``policy.toml``.

        Args:
            text: the policy as people write it.
            actor: who signs, for the audit log.
            now: the moment (aware, UTC).
            why: what led to it, for the audit log; empty when nothing is to be said.

        Raises:
            FormatError, Refused: the policy is not acceptable, or trust does not verify; nothing has changed.
            UsageError: ``usage.key``: a key is not where it should be; nothing has changed.
            Unreachable: ``io.failed``.
        """
        key = self._key("targets.pem")
        with self._tree.publishing():
            online = SigningKey.read(self._layout.online / "timestamp.pem")
            head = SigningKey.read(self._layout.online / "head.pem")
            before = self._repository.trust().policy
            policy = policies.to_sign(text, self._record.deployment, before.version + 1, now)
            policies.check_head_key(policy, head.public.id, now)
            roots = self._trusted_roots(policy)
            data = dump_policy(policy)
            detail = {"version": policy.version, "sha256": sha256_hex(data), "key": key.public.id}
            detail |= {"why": why} if why else {}
            self._repository.check_policy_key(key)
            with self._store.write() as ledger:
                ledger.record(Act(actor, "policy.sign", f"policy {policy.version}", detail), now)
            self._repository.publish_policy(data, key, online, policy.valid_until.instant, now, roots)
            write_atomic(self._layout.policy, text.encode())
        published = self._publisher.publish(now)
        return Signed(policy, self._sign_enrolment_where_possible(published.head, actor, now))

    def sign_enrolment(self, head: Head, actor: str, now: datetime) -> None:
        """Sign the enrolment bundle with the trust and list of now as its floor.

        Args:
            head: the list in force.
            actor: who signs, for the audit log.
            now: the moment (aware, UTC).

        Raises:
            UsageError: ``usage.key``.
            Unreachable: ``io.failed``.
        """
        roots = [self._key(name) for name in ROOT_KEYS]
        trust = self._repository.trust()
        payload = dump_enrolment(self._enrolment(trust, head, now))
        data = dsse.dump_envelope(sign_envelope(dsse.ENROLMENT, payload, *_tuf_ids(roots)))
        with self._store.write() as ledger:
            detail = {"sha256": sha256_hex(payload), "root": trust.root_version}
            ledger.record(Act(actor, "enrolment.sign", "enrolment.json", detail), now)
        self._tree.put(self._layout.enrolment, data)

    def keep_trusted_root(self, data: bytes) -> Digest:
        """Keep a Sigstore trusted root for policies that will name it; returns its digest.

        Raises:
            Refused: ``trust.metadata`` when it is none; ``usage.extra``.
            Unreachable: ``io.failed``.
        """
        check_trusted_root(data)
        digest = Digest(f"sha256:{sha256_hex(data)}")
        write_atomic(self._layout.trusted_root(digest.hex), data)
        return digest

    def _trusted_roots(self, policy: Policy) -> Mapping[Name, bytes]:
        """The trusted roots that a policy names, each as the policy's digest has it."""
        found = {}
        for name, rule in policy.trusted_roots.items():
            path = self._layout.trusted_root(rule.digest.hex)
            data = read_capped(path, TRUSTED_ROOT_LIMIT, "trusted root") if path.is_file() else b""
            if sha256_hex(data) != rule.digest.hex:
                raise Refused(
                    "trust.policy", f"the trusted root {name!r} that the policy names is not here",
                    found=f"sha256:{sha256_hex(data)}" if data else "nothing",
                    expected=f"{rule.digest} in {path.parent}",
                    todo="Add it with 'loadlock trust add-sigstore'.",
                )  # fmt: skip
            found[name] = data
        return found

    def _key(self, name: str) -> SigningKey:
        path = self._keys / name
        if not path.exists():
            raise UsageError(
                "io.failed",
                f"the offline key {name!r} is not here",
                found=f"nothing of that name in {str(self._keys)!r}",
                expected="the directory that the offline keys were moved to",
                todo="Name it with --keys DIR.",
            )
        return SigningKey.read_offline(path)

    def _enrolment(self, trust: Trust, head: Head, now: datetime) -> Enrolment:
        floor = Floor(root=trust.root_version, targets=trust.targets_version, epoch=head.epoch, seq=head.seq)
        root = encode_root(self._repository.root(trust.root_version))
        return Enrolment(
            v=1, deployment=self._record.deployment, server=self._record.server, root=root, floor=floor,
            issued=Time.of(now),
        )  # fmt: skip

    def _sign_enrolment_where_possible(self, head: Head, actor: str, now: datetime) -> bool:
        """Not where the root keys are elsewhere, nor where these are no longer the root's."""
        if not all((self._keys / name).is_file() for name in ROOT_KEYS):
            return False
        if not {self._key(name).public.id for name in ROOT_KEYS} <= {*key_ids(self._repository.roles().root, "root")}:
            return False
        self.sign_enrolment(head, actor, now)
        return True


def decode(data: bytes) -> str:
    """The text of a policy file.

    Raises:
        FormatError: ``format.encoding``.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("format.encoding", "policy.toml is not UTF-8", found=f"byte {error.start}") from None


def _tuf_ids(keys: Sequence[SigningKey]) -> list[tuple[str, SigningKey]]:
    return [(key.tuf.public_key.keyid, key) for key in keys]
