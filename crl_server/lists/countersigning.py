"""What whoever holds a checkpoint key checks before it signs, from the dossier alone, on a machine without the service.

The service may be hostile. So everything is verified from the pinned root: that the list before is the published one,
that the new base is that list and loses nothing but what is named, that no rule goes unnamed, and that two persons
agreed to each thing that is taken back, according to an audit log that continues the one of the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from crl_server.access.roles import is_same
from crl_server.lists.dossier import Dossier
from crl_server.records import audit
from crl_server.records.audit import Entry
from crl_server.trust.repository import Repository
from crl_server.trust.signing import SigningKey
from crl_server.trust.tuf_roles import check_role, role_of
from verifier.deployment.trust import Trust
from verifier.errors import Refused, UsageError
from verifier.formats.revocations import (
    MAX_BASE,
    PREFIX,
    AuditHead,
    Checkpoint,
    Rule,
    parse_checkpoint,
    parse_rules,
    parse_set_file,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Digest
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import open_list

MAX_DELAY = timedelta(days=30)
"""How old the published head may be when its checkpoint is signed."""


class Summary(NamedTuple):
    """What a signer should read before signing.

    Attributes:
        checkpoint: what is to be signed.
        before: how many entries the list has now.
        digests: what leaves the list, each with the note of the request and the two who agreed.
        rules: standing rules that end or get exceptions, likewise.
        keys: the ids of the keys that have signed.
        gap: how the audit log was lost since the last checkpoint; empty when it was not.
    """

    checkpoint: Checkpoint
    before: int
    digests: tuple[str, ...]
    rules: tuple[str, ...]
    keys: tuple[str, ...]
    gap: str = ""


class _Agreement(NamedTuple):
    subject: str
    note: str
    by: str
    approved_by: str

    @property
    def words(self) -> str:
        return f"{self.subject}: {self.note!a}, asked for by {self.by}, approved by {self.approved_by}"


def review(dossier: Dossier, root: Digest, now: datetime, *, recovered: bool = False) -> Summary:
    """Check a dossier.

    Args:
        dossier: as the service laid it out.
        root: the fingerprint of the deployment's first root, as the signer wrote it down.
        now: the moment (aware, UTC).
        recovered: take a log that begins with the recovery of a lost database, as somebody said it would.

    Raises:
        Refused: ``checkpoint.unfounded`` with what is wrong; ``checkpoint.outdated``, ``trust.*``, ``list.*``,
            ``audit.chain``.
    """
    trust = _trust(dossier, root)
    current = open_list(dossier.head, dossier.list_file, trust, now)
    if now - current.head.expires.instant > MAX_DELAY:
        raise _unfounded("the published list is old", f"expired at {current.head.expires}")
    document = dossier.checkpoint
    new = parse_checkpoint(document)
    role, metadata = role_of(dossier.metadata)
    check_role(role, document, trust.checkpoints_version + 1, now)
    start, gap = _recovery(dossier) if recovered else (trust.checkpoint.audit, "")
    agreements = _agreements(dossier, start, current.head.audit, new.audit)
    _check_numbers(new, current)
    digests = _check_base(dossier, new, current, agreements)
    rules = _check_rules(dossier, new, current, agreements)
    return Summary(new, current.count, tuple(digests), tuple(rules), tuple(sorted(metadata.signatures)), gap)


def sign(dossier: Dossier, key: SigningKey) -> int:
    """Add a signature; returns how many there are. Call it after :func:`review` alone.

    Raises:
        UsageError: ``usage.key`` for a key that does not sign checkpoints.
        Unreachable: ``io.failed``.
    """
    allowed = Repository(dossier.trust).checkpoint_keys()
    if key.tuf.public_key.keyid not in allowed:
        raise UsageError("usage.key", "this key does not sign checkpoints", found=key.public.id)
    _, metadata = role_of(dossier.metadata)
    metadata.sign(key.tuf, append=True)
    dossier.write_metadata(metadata.to_bytes())
    return len(metadata.signatures)


def _trust(dossier: Dossier, root: Digest) -> Trust:
    repository = Repository(dossier.trust)
    found = f"sha256:{sha256_hex(repository.root(1))}"
    if found != root:
        raise _unfounded("the dossier is of another deployment", found, root)
    return repository.trust()


def _check_numbers(new: Checkpoint, current: RevocationList) -> None:
    before = current.checkpoint
    for what, found, expected in (
        ("deployment", (new.deployment,), (before.deployment,)),
        ("epoch", (new.epoch,), (before.epoch + 1,)),
        ("through", (new.through,), (current.head.seq,)),
        ("carry", (new.carry,), (before.carry, before.epoch + 1)),
    ):
        if found[0] not in expected:
            raise _unfounded(f"the checkpoint's {what} is wrong", str(found[0]), " or ".join(map(str, expected)))


def _check_base(
    dossier: Dossier, new: Checkpoint, current: RevocationList, agreements: Iterable[_Agreement]
) -> Iterable[str]:
    base = dossier.list_file("bases", new.root)
    entries = set(parse_set_file(base, limit=MAX_BASE // PREFIX, what="the new base"))
    if sha256_hex(base) != new.root or len(entries) != new.count:
        raise _unfounded("the new base is not the one that the checkpoint names", sha256_hex(base), new.root)
    known = {current.base.at(place) for place in range(len(current.base))} | current.added
    named = {prefix_of(digest): digest for digest in new.removed}
    lost, added = known - entries, entries - known
    if added:
        raise _unfounded("the new base has entries that were never published", f"{len(added)} entries")
    unnamed = lost - named.keys()
    if unnamed:
        raise _unfounded("the new base loses entries that it does not name", f"{len(unnamed)} entries")
    forgotten = [
        digest
        for digest in current.checkpoint.removed
        if digest not in new.removed and prefix_of(digest) not in entries
    ]
    if forgotten or named.keys() & entries:
        raise _unfounded("what was removed before is not named any more, or stands in the base", str(forgotten[:3]))
    by_digest = {agreement.subject.partition(" of ")[0]: agreement for agreement in agreements}
    ended = by_digest.keys() & set(new.removed_rules)
    for digest in sorted(set(new.removed) - set(current.checkpoint.removed)):
        agreement = by_digest.get(f"sha256:{digest}")
        if agreement is None and not ended:
            raise _unfounded("nobody agreed to take this back", f"sha256:{digest}")
        yield agreement.words if agreement else f"sha256:{digest}: with {', '.join(sorted(ended))}"


def _check_rules(
    dossier: Dossier, new: Checkpoint, current: RevocationList, agreements: Iterable[_Agreement]
) -> Iterable[str]:
    data = dossier.list_file("rules", new.rules)
    if sha256_hex(data) != new.rules:
        raise _unfounded("the rules are not those that the checkpoint names", sha256_hex(data), new.rules)
    after = {rule.id: rule for rule in parse_rules(data).rules}
    before = {rule.id: rule for rule in current.rules.rules}
    strangers = after.keys() - before.keys()
    if strangers:
        raise _unfounded("a rule was never published", ", ".join(sorted(strangers)))
    agreed = {agreement.subject: agreement for agreement in agreements}
    removed = set(new.removed_rules)
    if not {*current.checkpoint.removed_rules, *(before.keys() - after.keys())} <= removed:
        raise _unfounded("a rule is gone and not named", ", ".join(sorted(before.keys() - after.keys() - removed)))
    for name, rule in sorted(before.items()):
        if name in removed:
            if name not in agreed:
                raise _unfounded("nobody agreed to end this rule", name)
            yield agreed[name].words
        else:
            yield from _check_rule(rule, after[name], agreed)


def _check_rule(before: Rule, after: Rule, agreed: dict[str, _Agreement]) -> Iterable[str]:
    same = [getattr(rule, name) for rule in (before, after) for name in ("kind", "match", "reason")]
    if same[:3] != same[3:] or not set(before.excepted) <= set(after.excepted):
        raise _unfounded("a rule was changed", before.id)
    for digest in sorted(set(after.excepted) - set(before.excepted)):
        agreement = agreed.get(f"{digest} of {before.id}") or agreed.get(digest)
        if agreement is None:
            raise _unfounded(f"nobody agreed to except this artifact from {before.id}", digest)
        yield f"{before.id} excepts {agreement.words}"


def _recovery(dossier: Dossier) -> tuple[AuditHead, str]:
    """Where a log begins that was lost, and what is said of it. What was agreed before that is gone with it."""
    entry = audit.parse_entry(dossier.log[0]) if dossier.log else None
    if entry is None or entry.action != "list.recover":
        raise _unfounded("the audit log does not begin with the recovery of a lost one", entry.action if entry else "")
    words = f"recovered by {entry.actor} at {entry.time}; of the log before, entry {entry.index} and later are lost"
    return AuditHead(count=entry.index, sha256=entry.previous), words


def _agreements(dossier: Dossier, start: AuditHead, published: AuditHead, end: AuditHead) -> list[_Agreement]:
    """What two different people agreed on, by a log that runs unbroken from the last checkpoint to this one."""
    entries = audit.follow_log(dossier.log, start, (published, end))
    asked: dict[object, Entry] = {}
    found = []
    for entry in entries:
        number = entry.detail.get("id")
        if entry.action == "reinstatement.request":
            asked[number] = entry
        elif entry.action == "reinstatement.approve":
            request = asked.get(number)
            # A request from before the last checkpoint is not in this part of the log; its approval names it.
            by, note = (request.actor, str(request.detail.get("note", ""))) if request else (
                str(entry.detail.get("by", "")), str(entry.detail.get("note", ""))
            )  # fmt: skip
            if not by or is_same(by, entry.actor) or (request and request.subject != entry.subject):
                raise _unfounded("a reinstatement was approved by who asked for it", entry.actor)
            found.append(_Agreement(entry.subject, note, by, entry.actor))
    return found


def _unfounded(what: str, found: str, expected: str = "") -> Refused:
    return Refused("checkpoint.unfounded", what, found=found, expected=expected)
