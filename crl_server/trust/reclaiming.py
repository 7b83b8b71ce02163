"""After the loss of the database: what an export still shows is taken back into an older one, or into a new one.

The database that was lost had published more than the one that is here knows. Hosts have seen it, so nothing may be
signed that contradicts it. From a copy of the public tree, verified as a host would:

1. its trust and its lists are put in the place of older ones
2. in one transaction: every entry and every rule that it shows is on the list again, in the event in which it was; what
   the older database has beyond that is in a new event, whose number hosts cannot have seen yet, nor those of new rules
3. the list is published

An entry is known from a list by 16 bytes of its digest. Where the registry has no artifact that begins so, they stand
for it, followed by zeros; its reason is ``unknown``. What was revoked after the copy was made is in no copy: hosts that
heard of it say ``list.fork`` until a checkpoint cuts it off, and people have to revoke it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlmodel import col, delete, select

from crl_server.layout import Layout
from crl_server.lists.public_files import ENROLMENT, HEAD, TIMESTAMP, kind_of, make_folders
from crl_server.lists.public_tree import MAX_ENVELOPE
from crl_server.lists.publishing import Position
from crl_server.records.audit import Act
from crl_server.revocation import standing
from crl_server.service import Authority
from crl_server.storage.databases import database_url, store_at
from crl_server.storage.ledger import RECOVERED, RESTORED, RULES_FLOOR, Ledger
from crl_server.storage.locking import exclusive
from crl_server.storage.sqlite import sqlite_store
from crl_server.storage.tables import Artifact, CheckpointRow, Event, ListEntry, Revocation, RuleException, StandingRule
from crl_server.trust.repository import Repository
from crl_server.trust.rotations import key_ids
from crl_server.trust.signing import DIRECTORY_MODE, SigningKey
from verifier.deployment.trust import Trust
from verifier.errors import Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats import dsse
from verifier.formats.enrolment import Floor
from verifier.formats.revocations import MAX_BASE, MAX_RULE_COUNT, MAX_TAIL, PREFIX, number_of, prefix_of, sha256_hex
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Hex, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, open_list

UNKNOWN = "unknown"
"""The reason of an entry that is known from a list alone."""


class Reclaimed(NamedTuple):
    """What came of it.

    Attributes:
        epoch: of the list from now on.
        seq: its number.
        entries: how many entries the database did not have.
        rules: how many rules it did not have.
    """

    epoch: int
    seq: int
    entries: int
    rules: int


class _Copy(NamedTuple):
    """A copy of the public tree, verified."""

    directory: Path
    trust: Trust
    current: RevocationList


def reclaim(authority: Authority, export: Path, actor: str, now: datetime) -> Reclaimed:
    """Take back what an export shows, and publish above all that hosts may have seen.

    Args:
        authority: the deployment, with the older database.
        export: a copy of the public tree, or the deployment's own.
        actor: who recovers, for the audit log.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``trust.*``, ``list.*`` when the copy does not verify, ``trust.root`` when it is of another deployment;
            ``trust.rollback``, ``list.rollback`` when it is older than what is here; ``server.behind`` when a rule here
            contradicts it.
        UsageError: ``io.failed``; ``usage.key`` when an online key here is not the one that the copy names.
        Unreachable: ``io.failed``.
    """
    copy = _read(authority, export, now)
    _check_keys(authority, copy)
    # Not as other publishers do: a shared database may be behind the files here, which is what is to be mended.
    with authority.store.publishing(), exclusive(authority.layout.lock):
        if export.resolve() != authority.layout.public.resolve():
            _copy_files(export, authority.layout.public)
        with authority.store.write() as ledger:
            done = _merge(ledger, copy, now)
            head = copy.current.head
            detail = {"epoch": done.epoch, "seq": done.seq, "entries": done.entries, "rules": done.rules,
                      "from": {"seq": head.seq, "head": sha256_hex(_payload(copy.current))},
                      "log": {"count": head.audit.count, "sha256": head.audit.sha256}}  # fmt: skip
            ledger.record(Act(actor, "list.recover", f"seq {head.seq}", detail), now)
            Position(head.epoch, head.seq, head.issued).write(ledger)
            ledger.set(RECOVERED, f"{head.epoch} {head.seq} {head.issued}")
            ledger.set(RESTORED, "")
            _share(authority, ledger)
    published = authority.publisher.publish(now)
    return done._replace(epoch=published.head.epoch, seq=published.head.seq)


def new_database(layout: Layout, now: datetime) -> None:
    """Make an empty database where the one of this deployment is gone.

    Raises:
        UsageError: ``usage.deployment``, ``usage.configuration``, ``usage.extra``.
        Unreachable: ``io.failed``.
    """
    url = database_url(layout)
    if not url and layout.database.is_file():
        return
    deployment = layout.deployment().deployment
    layout.database.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    store = store_at(url) if url else sqlite_store(layout.database)
    try:
        store.upgrade()
        with store.write() as ledger:
            if ledger.setting("deployment") is None:
                ledger.set("deployment", deployment)
                ledger.set(RESTORED, str(Time.of(now)))
    finally:
        store.close()


# -- the copy ---------------------------------------------------------------------------------------------------------


def _read(authority: Authority, export: Path, now: datetime) -> _Copy:
    theirs = Repository(export / "trust")
    if theirs.root(1) != authority.repository.root(1):
        raise Refused("trust.root", "the export is of another deployment", found=f"sha256:{sha256_hex(theirs.root(1))}")
    trust, own = theirs.trust(), authority.repository.trust()
    floor = Floor(
        root=own.root_version, targets=own.targets_version, epoch=own.checkpoint.epoch, seq=0
    )  # fmt: skip
    trust.check_floor(authority.record.deployment, floor)

    def files(kind: FileKind, name: Hex) -> bytes:
        return read_capped(export / "lists" / kind / name, MAX_BASE, f"list file ({kind})")

    current = open_list(read_capped(export / HEAD, MAX_ENVELOPE, "revocation head"), files, trust, now)
    if authority.layout.head.is_file() and own.roles["checkpoints"] == trust.roles["checkpoints"]:
        here = authority.publisher.read(own, now).head
        if (here.epoch, here.seq, here.issued) > (current.head.epoch, current.head.seq, current.head.issued):
            raise Refused(
                "list.rollback", "the export is older than the list that is here", found=f"seq {current.head.seq}",
                expected=f"seq {here.seq} or later", todo=f"Take {authority.layout.public} itself, or a newer export.",
            )  # fmt: skip
    return _Copy(export, trust, current)


def _check_keys(authority: Authority, copy: _Copy) -> None:
    """The keys that are here go on signing; where they were rotated since, newer ones are needed."""
    root = Repository(copy.directory / "trust").roles().root
    named = {"timestamp": {*key_ids(root, "timestamp")}, "head": {key.key for key in copy.trust.policy.head_keys}}
    for name, keys in named.items():
        found = SigningKey.read(authority.layout.online / f"{name}.pem").public.id
        if found not in keys:
            raise UsageError(
                "usage.key", f"online/{name}.pem is not the key that the export names", found=found,
                expected=", ".join(sorted(keys)), todo="Put the key of that time into its place.",
            )  # fmt: skip


def _copy_files(export: Path, public: Path) -> None:
    """The copy's files in the place of older ones: what leads to others comes last."""
    names = [str(path.relative_to(export)) for path in sorted(export.rglob("*")) if path.is_file()]
    last = [name for name in (TIMESTAMP, HEAD) if name in names]
    try:
        for name in (*(name for name in names if name not in last and kind_of(name)), *last):
            target = public / name
            make_folders(public, name)
            if name.startswith("lists/") and name not in last:
                if not target.exists():
                    shutil.copyfile(export / name, target)
            elif not (name.startswith("sets/") and target.exists()):
                write_atomic(target, read_capped(export / name, MAX_BASE, name))
    except OSError as error:
        raise UsageError("io.failed", "the export cannot be copied", found=error.strerror or "") from error


def _share(authority: Authority, ledger: Ledger) -> None:
    """Keep the tree for every server that shares the database, in the order in which it verifies at each moment."""
    public = authority.layout.public
    names = [path.relative_to(public).as_posix() for path in sorted(public.rglob("*")) if path.is_file()]
    last = ("root.json", TIMESTAMP, HEAD, ENROLMENT)

    def rank(name: str) -> tuple[int, str]:
        return next((place for place, end in enumerate(last, 1) if name.endswith(end)), 0), name

    if authority.store.replicated:
        for name in sorted(filter(kind_of, names), key=rank):
            authority.tree.keep(ledger, {public / name: read_capped(public / name, MAX_BASE, name)})


def _payload(current: RevocationList) -> bytes:
    return dsse.parse_envelope(current.envelope, what="revocation head").unverified_payload


# -- the database -----------------------------------------------------------------------------------------------------


def _merge(ledger: Ledger, copy: _Copy, now: datetime) -> Reclaimed:
    head, checkpoint = copy.current.head, copy.trust.checkpoint
    ledger.session.exec(delete(CheckpointRow).where(col(CheckpointRow.epoch) > checkpoint.epoch))
    places = _places(copy.current)
    seq = max(head.seq, ledger.last_seq(), checkpoint.through) + MAX_TAIL + 1
    for number in sorted({*places.values(), checkpoint.through, seq}):
        if number and ledger.session.get(Event, number) is None:
            ledger.session.add(Event(seq=number, at=Time.of(now)))
    ledger.session.flush()
    new = _merge_entries(ledger, copy, places, seq, now)
    ledger.replace_segments(head.segments)
    return Reclaimed(head.epoch, seq, new, _merge_rules(ledger, copy, seq, now))


def _places(current: RevocationList) -> dict[bytes, int]:
    """The last event that each entry may have come with."""
    places = {current.base.at(place): current.checkpoint.through for place in range(len(current.base))}
    return places | {prefix: segment.ref.last for segment in current.tail for prefix in segment.prefixes}


def _merge_entries(ledger: Ledger, copy: _Copy, places: dict[bytes, int], seq: int, now: datetime) -> int:
    """Bring the list's entries to their places; what the copy does not show goes to the event ``seq``."""
    gone = {prefix_of(digest) for digest in copy.trust.checkpoint.removed}
    missing = dict(places)
    for row in ledger.session.exec(select(ListEntry)).all():
        prefix = prefix_of(Digest(row.digest))
        place = missing.pop(prefix, places.get(prefix))
        if place is not None:
            row.seq, row.removed = place, None
        elif row.removed is None and prefix in gone:
            row.removed = copy.trust.checkpoint.epoch
            _withdraw(ledger, row.digest, row.removed)
        elif row.removed is None:
            row.seq = seq
        ledger.session.add(row)
    known = {prefix_of(Digest(digest)): digest for digest in ledger.session.exec(select(Artifact.digest))}
    at = Time.of(now)
    for prefix, place in missing.items():
        digest = known.get(prefix) or f"sha256:{prefix.hex()}{'0' * (64 - 2 * PREFIX)}"
        ledger.session.add(ListEntry(digest=digest, seq=place))
        ledger.session.flush()
        note = "known from the published list alone"
        ledger.add_reason(Revocation(digest=digest, reason=UNKNOWN, note=note, at=at, by="server"))
    ledger.session.flush()
    return len(missing)


def _withdraw(ledger: Ledger, digest: str, epoch: int) -> None:
    for reason in ledger.reasons(Digest(digest)):
        reason.withdrawn = epoch
        ledger.session.add(reason)


def _merge_rules(ledger: Ledger, copy: _Copy, seq: int, now: datetime) -> int:
    ended = set(copy.trust.checkpoint.removed_rules)
    before = {rule.id: rule for rule in standing.in_force(ledger).rules}
    count = 0
    for rule in copy.current.rules.rules:
        here = ledger.session.get(StandingRule, number_of(rule.id))
        if here is None:
            count += 1
            ledger.session.add(
                StandingRule(
                    number=number_of(rule.id), kind=rule.kind, match=dumps(rule.match), reason=rule.reason,
                    note="known from the published list alone", seq=seq, at=Time.of(now),
                    by="server",
                )
            )  # fmt: skip
        elif rule.id in before and (before[rule.id].kind, before[rule.id].match) != (rule.kind, rule.match):
            raise Refused("server.behind", f"the rule {rule.id} here is another one than the export's", found=rule.kind)
        else:
            here.removed = None
            ledger.session.add(here)
        ledger.session.flush()
        _except(ledger, number_of(rule.id), rule.excepted)
    for name in before.keys() & ended:
        here = ledger.session.get_one(StandingRule, number_of(name))
        here.removed = copy.trust.checkpoint.epoch
        ledger.session.add(here)
    numbers = [number_of(name) for name in (*before, *ended, *(rule.id for rule in copy.current.rules.rules))]
    ledger.set(RULES_FLOOR, str(max(numbers, default=0) + MAX_RULE_COUNT))
    return count


def _except(ledger: Ledger, number: int, digests: Iterable[Digest]) -> None:
    for digest in digests:
        ledger.session.merge(RuleException(rule=number, digest=digest))
    ledger.session.flush()
