"""Making a deployment: keys, policy, trust, database, first list, enrolment bundle; whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from crl_server.layout import OFFLINE_KEYS, ONLINE_KEYS, PRINCIPALS, Deployment, Layout, dump_deployment
from crl_server.lists.public_tree import PublicTree
from crl_server.lists.publishing import Publisher
from crl_server.lists.rules import first_checkpoint
from crl_server.operating.expiries import HEAD_KEY_LIFE
from crl_server.records.audit import Act
from crl_server.storage.databases import new_store
from crl_server.storage.store import Store
from crl_server.trust import policies
from crl_server.trust.offline import Office
from crl_server.trust.repository import Repository
from crl_server.trust.signing import DIRECTORY_MODE, SigningKey
from crl_server.trust.tuf_roles import OfflineKeys
from verifier.errors import Unreachable, UsageError
from verifier.files import sync_directory, write_atomic
from verifier.formats.policy import Policy, Profile, dump_policy
from verifier.formats.revocations import dump
from verifier.formats.text import Name, Time, Version
from verifier.signatures.keys import Algorithm


@dataclass(frozen=True)
class Plan:
    """What kind of deployment is wanted.

    Attributes:
        record: its description.
        profile: ``production`` or ``demo``.
        host_api: the API version that its hosts offer.
        database: the address of its database; empty for an embedded one. Secret.
    """

    record: Deployment
    profile: Profile
    host_api: Version
    database: str = field(default="", repr=False)


def initialise(directory: Path, plan: Plan, actor: str, now: datetime) -> Policy:
    """Make a deployment in ``directory``, which must not hold anything yet.

    Args:
        directory: where; made with its parents.
        plan: what kind of deployment.
        actor: who makes it, for the audit log.
        now: the moment (aware, UTC).

    Returns:
        The first policy.

    Raises:
        UsageError: ``usage.exists``, also when the database serves a deployment; ``usage.configuration``.
        Unreachable: ``io.failed``; nothing is left behind, but for empty tables in a database elsewhere.
    """
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError("usage.exists", "there is something already", found=str(directory))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.init-"))
        try:
            policy = _build(Layout(building), plan, actor, now)
            building.chmod(0o755)
            os.rename(building, directory)
            sync_directory(directory.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    except OSError as error:
        raise Unreachable("io.failed", "cannot make the deployment", found=error.strerror or str(error)) from error
    return policy


def _build(layout: Layout, plan: Plan, actor: str, now: datetime) -> Policy:
    deployment = plan.record.deployment
    offline = {name: _new_key(layout.offline, name) for name in OFFLINE_KEYS}
    online = {name: _new_key(layout.online, name) for name in ONLINE_KEYS}
    until = Time.of(now + HEAD_KEY_LIFE)
    text = policies.first_policy(deployment, plan.profile, plan.host_api, online["head"].public, until)
    if plan.profile == "demo":
        text = _with_demo_principals(layout, text)
    policy = policies.to_sign(text, deployment, 1, now)
    keys = OfflineKeys(
        (offline["root-1"], offline["root-2"]),
        offline["targets"],
        (offline["checkpoint-1"], offline["checkpoint-2"]),
    )
    checkpoint = dump(first_checkpoint(deployment))
    write_atomic(layout.policy, text.encode())

    def create(repository: Repository) -> None:
        until = policy.valid_until.instant
        repository.create(keys, online["timestamp"], dump_policy(policy), checkpoint, until, now)

    _open_books(layout, plan, create, actor, now)
    return policy


def _open_books(layout: Layout, plan: Plan, create: Callable[[Repository], None], actor: str, now: datetime) -> None:
    """The database, the trust repository, the first list and the enrolment bundle."""
    layout.database.parent.mkdir(mode=DIRECTORY_MODE)
    store = new_store(layout, plan.database)
    try:
        store.upgrade()
        with store.write() as ledger:
            if ledger.setting("deployment") is not None:
                raise UsageError("usage.exists", "the database serves a deployment already")
            ledger.set("deployment", plan.record.deployment)
            act = Act(actor, "deployment.create", plan.record.deployment, {"profile": plan.profile})
            ledger.record(act, now)
        with _taken_out_again(store):
            tree = PublicTree(layout, store)
            create(tree.repository)
            publisher = Publisher(tree, plan.record.life)
            publisher.prepare()
            published = publisher.publish(now)
            Office(tree, plan.record, publisher, layout.offline).sign_enrolment(published.head, actor, now)
            write_atomic(layout.record, dump_deployment(plan.record))
    finally:
        store.close()


@contextmanager
def _taken_out_again(store: Store) -> Iterator[None]:
    """Take what was written out of the database again if the rest fails."""
    try:
        yield
    except BaseException:
        store.empty()
        raise


def _with_demo_principals(layout: Layout, text: str) -> str:
    for name in PRINCIPALS:
        key = _new_key(layout.principals, name, algorithm="ecdsa-p256")
        text = policies.with_principal(text, Name(name), key.public, "core" if name == "certifier" else None)
    return text


def _new_key(directory: Path, name: str, algorithm: Algorithm = "ed25519") -> SigningKey:
    key = SigningKey.generate(algorithm)
    key.write(directory / f"{name}.pem")
    return key
