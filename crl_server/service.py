"""The authority: what the service does, for the API and for the command line alike.

Every change is one transaction with its audit entry; what follows from it (a signed head, a file in the static tree) is
done before the caller hears of success, and is done again at the next start when a crash came between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from crl_server.access import tokens
from crl_server.access.issuers import read_issuers
from crl_server.access.oidc import Issuers
from crl_server.access.roles import Identity, Operation, Role
from crl_server.fleet import coverage_history, hosts
from crl_server.fleet.hearing import Hearing
from crl_server.layout import Layout
from crl_server.lists.checkpointing import Checkpoints, Prepared
from crl_server.lists.dossier import Dossier
from crl_server.lists.public_tree import PublicTree
from crl_server.lists.publishing import Publisher
from crl_server.operating import endings
from crl_server.operating.endings import Ending, Endings
from crl_server.operating.expiries import Expiry, expiries
from crl_server.plugins import admission, registry, releases
from crl_server.plugins.admission import Admission, Admitted, Upload
from crl_server.records.audit import Act, verify_log
from crl_server.records.denials import Denials
from crl_server.revocation import backfill, reinstating
from crl_server.revocation.denying import Denying
from crl_server.revocation.reinstating import Requested, Wish
from crl_server.settings import read_settings
from crl_server.storage import idempotency
from crl_server.storage.databases import open_store
from crl_server.storage.idempotency import Asked, once
from crl_server.storage.ledger import Ledger
from crl_server.storage.restored import heed_note
from crl_server.storage.store import Store
from crl_server.trust.offline import Office
from crl_server.trust.rotating import Rotations
from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotation_review import Review
from crl_server.trust.signing import SigningKey
from crl_server.webhooks import outbox
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.formats.strict_json import parse
from verifier.formats.text import Digest, Name, PluginId, Time
from verifier.revocation.revocation_list import RevocationList


@dataclass(frozen=True)
class Standing:
    """Trust and list as they stand on disk, verified."""

    trust: Trust
    revocations: RevocationList


class Authority(Denying):
    """The service of one deployment.

    Args:
        directory: the deployment's directory.
        recovering: leave the files here as they are, though a shared database may have others: it was lost, and these
            are what is to be taken back.

    Raises:
        UsageError: ``usage.deployment`` when it is none; ``usage.configuration`` when the database is of another one,
            or settings or issuers of tokens contradict themselves.
        FormatError: ``settings.toml``, ``issuers.toml``, ``database.toml`` or the note of a restoration is malformed.
        Unreachable: ``io.failed``.
    """

    def __init__(self, directory: Path, *, recovering: bool = False) -> None:
        self.layout = Layout(directory)
        self.record = self.layout.deployment()
        self.settings = read_settings(self.layout.settings)
        self.issuers = read_issuers(self.layout.issuers)
        self.known_issuers = Issuers(self.issuers)
        self.store = open_store(self.layout)
        try:
            self._open(recovering)
        except BaseException:
            self.store.close()
            raise

    def _open(self, recovering: bool) -> None:
        self.store.upgrade()
        _check_deployment(self.store, self.record.deployment)
        heed_note(self.layout, self.store)
        self.tree = PublicTree(self.layout, self.store)
        if not recovering:
            self.tree.catch_up()
        self.repository = self.tree.repository
        self.publisher = Publisher(self.tree, self.record.life)
        self.checkpoints = Checkpoints(self.tree)
        self.rotations = Rotations(self.tree, self.record, self.publisher)
        self.hearing = Hearing(self.store)
        self._endings = Endings()
        self._denials = Denials(self.store)
        self.rotations.resume()

    def close(self) -> None:
        """Keep what hosts have said and is not kept yet, and close the database."""
        self.hearing.close()
        self.store.close()

    # -- standing ------------------------------------------------------------------------------------------------------

    def standing(self, now: datetime) -> Standing:
        """Trust and list as hosts see them, verified.

        Raises:
            Refused: ``server.not-ready`` when there is no valid, fresh list; ``trust.*``.
        """
        trust = self.repository.trust()
        current = self._verified(trust, now)
        if now >= current.head.expires.instant:
            raise Refused("server.not-ready", "the signed list has expired", found=current.head.expires)
        return Standing(trust, current)

    def _verified(self, trust: Trust, now: datetime) -> RevocationList:
        try:
            return self.publisher.read(trust, now)
        except LoadlockError as error:
            raise Refused(
                "server.not-ready", "there is no signed list that verifies", found=f"[{error.code}] {error.what}"
            ) from error

    def reconcile(self, now: datetime) -> None:
        """Do what a crash or downtime has left undone; the service starts with this.

        Raises:
            Refused: ``server.behind``, ``server.lint``, ``clock.behind``, ``trust.*``.
            UsageError: ``usage.key``, ``io.failed``: an online key is not usable.
            Unreachable: ``io.failed``.
        """
        self.publisher.head_key()
        self.checkpoints.resume(now)
        self.maintain(now)
        trust = self.repository.trust()
        with self.store.write() as ledger:
            late = backfill.complete(ledger, trust.policy, trust.checkpoint.through, now)
        if late:
            self.publisher.publish(now)
        with self.store.write() as ledger:
            for digest in registry.digests(ledger):
                path = self.layout.set_file(digest.removeprefix("sha256:"))
                if not path.is_file():
                    self.tree.place(ledger, path, registry.attestations(ledger, digest) or b"")
            releases.complete(ledger, self.tree)

    def maintain(self, now: datetime) -> None:
        """Publish what is committed, and sign again what has lost half of its time.

        Raises:
            Refused: as :meth:`reconcile`.
            Unreachable: ``io.failed``.
        """
        self.rotations.resume()
        with self.tree.publishing():
            renewed = self.repository.renew(SigningKey.read(self.layout.online / "timestamp.pem"), now)
        with self.store.write() as ledger:
            idempotency.forget(ledger, now)
            hosts.forget(ledger, now)
            if renewed:
                ledger.record(Act("server", "trust.resign", "timestamp", {}), now)
        coverage_history.note(self.store, now)
        self.publisher.publish(now)

    def first_root(self) -> Digest:
        """The fingerprint of the first root, by which signers and the first hosts know the deployment."""
        return Digest(f"sha256:{sha256_hex(self.repository.root(1))}")

    def expiries(self, now: datetime) -> tuple[Expiry, ...]:
        """All that expires, of trust and of the list that is served; raises ``Refused`` with ``trust.*``."""
        return expiries(self.repository.trust(), self.publisher, self.record.life, now)

    def endings(self, ledger: Ledger, now: datetime) -> Sequence[Ending]:
        """Certifications and tokens that end soon or have ended lately, the first to end first."""
        return self._endings.soon(ledger, now)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """What is about to expire (told during the last third of its life), how much else ends soon, and events that
        nobody could be told of. Anybody may read it: it names no plugin, no person and no token.

        Raises:
            Refused: ``trust.*``.
            Unreachable: ``io.failed``.
        """
        with self.store.read() as ledger:
            given_up = outbox.given_up(ledger)
            ending = endings.summary(self.endings(ledger, now))
        return (*(found.told(now) for found in self.expiries(now) if found.near(now)), *ending, *given_up)

    # -- revoking and admitting ----------------------------------------------------------------------------------------

    def admit(self, upload: Upload, who: Identity, now: datetime, key: str = "") -> Admission:
        """Admit a plugin: it verifies under the policy as on a host, and its attestation set is published.

        Args:
            upload: the wheel and its set.
            who: who publishes.
            now: the moment (aware, UTC).
            key: an idempotency key; empty for none.

        Raises:
            UsageError: ``usage.arguments``.
            Refused: with the code of the first check that said no; ``request.idempotency``.
            Unreachable: ``io.failed``.
        """
        idempotency.check_key(key)
        with self.store.read() as ledger:
            known = idempotency.answered(ledger, who.actor, key, upload.fingerprint)
        if known is not None:
            return parse(known, Admission, limit=idempotency.MAX_ANSWER, what="remembered answer")
        standing = self.standing(now)
        admitted = admission.judge(upload, standing.trust, standing.revocations, now)
        who.check_plugin(admitted.plugin.plugin_id)
        asked = Asked(who.actor, key, upload.fingerprint)
        with self.store.write() as ledger:
            return once(ledger, asked, Admission, lambda: self._keep(ledger, upload, admitted, who.actor, now), now)

    def _keep(self, ledger: Ledger, upload: Upload, admitted: Admitted, actor: str, now: datetime) -> Admission:
        admission.keep(ledger, upload, admitted, actor, now)
        # Before the commit: a set that verified and is not registered does no harm; the reverse would be a gap.
        path = self.layout.set_file(admitted.plugin.artifact_digest.hex)
        self.tree.place(ledger, path, upload.attestations)
        releases.publish(ledger, self.tree, admitted.plugin.plugin_id, admitted.plugin.version)
        return admitted.outcome

    # -- taking back ---------------------------------------------------------------------------------------------------

    def request_reinstatement(self, wish: Wish, actor: str, now: datetime, key: str = "") -> Requested:
        """Record what somebody wants taken back; raises as :func:`crl_server.revocation.reinstating.ask`, and as
        :func:`crl_server.storage.idempotency.answered`.
        """
        idempotency.check_key(key)
        with self.store.write() as ledger:
            asked = Asked(actor, key, wish.fingerprint)
            return once(ledger, asked, Requested, lambda: reinstating.ask(ledger, wish, actor, now), now)

    def approve_reinstatement(self, number: int, actor: str, now: datetime, key: str = "") -> Requested:
        """Agree to somebody else's request; raises as :func:`crl_server.revocation.reinstating.approve`, and as
        :func:`crl_server.storage.idempotency.answered`.
        """
        idempotency.check_key(key)
        with self.store.write() as ledger:
            asked = Asked(actor, key, idempotency.fingerprint(b"approve", str(number).encode()))
            return once(ledger, asked, Requested, lambda: reinstating.approve(ledger, number, actor, now), now)

    def prepare_checkpoint(self, directory: Path, actor: str, now: datetime, *, cut: bool = False) -> Prepared:
        """Lay out the next checkpoint for its signers; raises as :meth:`Publisher.publish` and
        :meth:`crl_server.lists.checkpointing.Checkpoints.prepare`.
        """
        current = self.publisher.publish(now)
        return self.checkpoints.prepare(current, directory, actor, now, cut=cut)

    def publish_checkpoint(self, dossier: Dossier, actor: str, now: datetime) -> RevocationList:
        """Put a signed checkpoint in force, with a head of the new epoch; raises as
        :meth:`crl_server.lists.checkpointing.Checkpoints.publish` and :meth:`Publisher.publish`.
        """
        self.publisher.head_key()
        self.publisher.publish(now)
        self.checkpoints.publish(dossier, actor, now)
        return self.publisher.publish(now)

    def publish_rotation(self, dossier: RotationDossier, actor: str, now: datetime, *, dry_run: bool = False) -> Review:
        """Put a signed rotation in force, and publish a list that asks hosts to follow it; raises as
        :meth:`crl_server.trust.rotating.Rotations.publish` and :meth:`Publisher.publish`.
        """
        self.publisher.publish(now)  # with the head key that hosts know: nothing committed is left behind
        found = self.rotations.publish(dossier, actor, now, dry_run=dry_run)
        self.publisher.publish(now)
        return found

    # -- tokens --------------------------------------------------------------------------------------------------------

    def create_token(
        self, name: Name, roles: Sequence[Role], life: timedelta, actor: str, now: datetime, host: Name | None = None,
        plugins: Sequence[PluginId] = (),
    ) -> str:  # fmt: skip
        """Make an API token; raises as :func:`crl_server.access.tokens.create_token`."""
        with self.store.write() as ledger:
            secret = tokens.create_token(ledger, name, roles, life, now, host, plugins)
            detail: dict[str, object] = {"roles": sorted(set(roles)), "expires": Time.of(now + life)}
            detail |= {"host": host} if host else {}
            detail |= {"plugins": sorted(set(plugins))} if plugins else {}
            ledger.record(Act(actor, "token.create", name, detail), now)
        return secret

    def revoke_token(self, name: Name, actor: str, now: datetime) -> None:
        """Take an API token back; raises as :func:`crl_server.access.tokens.revoke_token`."""
        with self.store.write() as ledger:
            tokens.revoke_token(ledger, name, now)
            ledger.record(Act(actor, "token.revoke", name, {}), now)

    def forget_host(self, host: Name, actor: str, now: datetime) -> int:
        """Count a host no more that is gone; returns and raises as :func:`crl_server.fleet.hosts.drop`."""
        with self.store.write() as ledger:
            instances = hosts.drop(ledger, host, now)
            ledger.record(Act(actor, "host.forget", host, {"instances": instances}), now)
        return instances

    def identify(self, presented: str, now: datetime) -> Identity:
        """Who presents a token: one of this service, or one of an issuer that the operator named.

        Raises:
            Refused: ``auth.token``.
            Unreachable: ``unreachable.issuer``, ``io.failed``.
        """
        if not presented.startswith(tokens.PREFIX):
            return self.known_issuers.identify(presented, now)
        with self.store.read() as ledger:
            return tokens.authenticate(ledger, presented, now)

    def record_denial(self, actor: str, operation: Operation, code: str, now: datetime) -> None:
        """Record a refused write; raises as :meth:`crl_server.records.denials.Denials.record`."""
        self._denials.record(actor, operation, code, now)

    # -- policy and audit ----------------------------------------------------------------------------------------------

    def office(self, keys: Path | None = None) -> Office:
        """Where offline keys sign; they lie in ``keys``, else in the deployment's own ``offline``."""
        return Office(self.tree, self.record, self.publisher, keys or self.layout.offline)

    def verify_audit(self, now: datetime) -> AuditHead:
        """Verify the whole audit log against the signed head on disk; returns the log's state.

        Raises:
            Refused: ``audit.chain``; ``server.not-ready`` when there is no head that verifies; ``trust.*``.
        """
        current = self._verified(self.repository.trust(), now)
        with self.store.read() as ledger:
            return verify_log(ledger.audit_lines(), current.head.audit)


def _check_deployment(store: Store, deployment: Name) -> None:
    with store.read() as ledger:
        named = ledger.setting("deployment")
    if named != deployment:
        raise UsageError(
            "usage.configuration", "the database belongs to another deployment",
            found=repr(named), expected=repr(str(deployment)),
        )  # fmt: skip
