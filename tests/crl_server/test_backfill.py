"""Artifacts of a release that kept nothing for standing rules are resolved by them all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select, update

from crl_server.access.roles import Identity
from crl_server.plugins.admission import Upload
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.storage.tables import Artifact
from crl_server.trust import policies
from tests.crl_server.deployments import ACTOR, NOW, made
from tests.crl_server.test_api import ROLE_OF_PERSON
from tests.simulator import Simulator
from verifier.formats.strict_json import parse
from verifier.formats.text import Digest, Name, PluginId
from verifier.revocation.standing_rules import Subject

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    """A deployment with one real artifact, admitted as it should be."""
    simulator = Simulator(NOW)
    new = made(tmp_path / "acme", "production")
    office = new.office()
    text = office.text()
    for name, tier in ROLE_OF_PERSON.items():
        text = policies.with_principal(text, Name(name), simulator.people[name].public, tier)  # type: ignore[arg-type]
    roles = ([Name("builder")], [Name("owner")], [Name("certifier")])
    office.sign_policy(policies.with_plugin(text, PluginId("sample_plugin"), *roles, None), ACTOR, NOW)
    wheel = simulator.wheel()
    upload = Upload(wheel.file_name, wheel.data, simulator.attest(wheel))
    new.admit(upload, Identity(ACTOR, frozenset({"publisher"})), NOW)
    yield new
    new.close()


def subject(authority: Authority) -> Subject | None:
    with authority.store.read() as ledger:
        (data,) = ledger.session.exec(select(Artifact.subject)).all()
    return None if data is None else parse(data, Subject, limit=2**26, what="subject")


def forgotten(authority: Authority, **values: object) -> Subject:
    """The registry as an earlier release has left it; returns what it knew."""
    known = subject(authority)
    assert known is not None
    with authority.store.write() as ledger:
        ledger.session.exec(update(Artifact).values(subject=None, **values))
    return known


def test_a_service_that_starts_knows_again_what_rules_look_at(authority: Authority) -> None:
    known = forgotten(authority)
    authority.reconcile(NOW)
    found = subject(authority)
    assert found is not None
    for name in ("artifact", "plugin_id", "version", "builder", "repository", "commit"):
        assert getattr(found, name) == getattr(known, name)
    assert set(known.signers) <= set(found.signers)
    assert set(known.keys) <= set(found.keys)
    assert set(known.statements) <= set(found.statements)
    assert {part for part in known.parts if part.version} <= set(found.parts)


def test_a_rule_that_came_meanwhile_and_one_that_comes_later_reach_it(authority: Authority) -> None:
    known = forgotten(authority)
    rule = NewRule("signer", {"principal": "owner"}, "key-compromise")
    assert authority.add_rule(rule, ACTOR, NOW).revoked == ()
    assert not authority.standing(NOW).revocations.lists(known.artifact)
    authority.reconcile(NOW)
    assert authority.standing(NOW).revocations.lists(known.artifact)
    with authority.store.read() as ledger:
        assert [reason.rule for reason in ledger.reasons(Digest(known.artifact))] == [1]
    later = authority.add_rule(NewRule("plugin", {"id": "sample_plugin"}, "malicious"), ACTOR, NOW)
    assert later.already == (known.artifact,)
    authority.verify_audit(NOW)


def test_what_cannot_be_read_is_told_of_and_keeps_nothing_back(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    forgotten(authority, attestations=b"{}")
    with caplog.at_level(logging.WARNING):
        authority.reconcile(NOW)
    assert "rules cannot be held against" in caplog.text
    assert subject(authority) is None
