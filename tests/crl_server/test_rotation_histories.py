"""Whatever is rotated in whatever order, and whenever hosts look: they follow, and old online keys sign nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from crl_server.trust.rotations import Kind
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, digest, revoke
from tests.crl_server.rotated import REPLACED, Host, World, world
from tests.crl_server.takebacks import prepared, root_of
from verifier.formats import dsse
from verifier.formats.revocations import parse_head
from verifier.signatures.keys import PublicKey, signers

KINDS: tuple[Kind, ...] = ("root", "targets", "checkpoints", "online", "head")


class Histories(RuleBasedStateMachine):
    """One deployment, and hosts that look now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._place = tempfile.TemporaryDirectory()
        self._context = world(Path(self._place.name))
        self.acme: World = self._context.__enter__()
        self.hosts: list[Host] = []
        self.revoked: list[str] = []
        self.former: list[SigningKey] = []

    @rule(kind=st.sampled_from(KINDS))
    def rotate(self, kind: Kind) -> None:
        online, head = self.acme.online_key, SigningKey.read(self.acme.authority.layout.online / "head.pem")
        self.acme.rotate(kind, *REPLACED[kind])
        self.former += {"online": [online], "head": [head]}.get(kind, [])

    @rule()
    def revoke(self) -> None:
        self.revoked.append(f"artifact-{len(self.revoked)}")
        revoke(self.acme.authority, self.revoked[-1], now=self.acme.now)

    @rule()
    def checkpoint(self) -> None:
        from crl_server.lists import countersigning

        dossier = prepared(self.acme.authority, self.acme.fresh("checkpoint"), self.acme.now)
        for name in ("checkpoint-1", "checkpoint-2"):
            countersigning.review(dossier, root_of(self.acme.authority), self.acme.now)
            countersigning.sign(dossier, self.acme.keys[name])
        self.acme.authority.publish_checkpoint(dossier, ACTOR, self.acme.now)

    @rule()
    def enrol(self) -> None:
        if len(self.hosts) < 3:
            self.hosts.append(self.acme.host(f"number-{len(self.hosts)}"))

    @rule(number=st.integers(0, 2))
    def sync(self, number: int) -> None:
        if number < len(self.hosts):
            self._holds(self.hosts[number])

    @invariant()
    def old_keys_sign_nothing_that_is_published(self) -> None:
        trust = self.acme.authority.repository.trust()
        envelope = dsse.parse_envelope(self.acme.authority.layout.head.read_bytes())
        head_keys = [PublicKey.from_policy(trust.policy.keys[head.key]) for head in trust.policy.head_keys]
        assert signers(envelope, head_keys) == head_keys
        assert len(envelope.signatures) == len(head_keys)
        named = {PublicKey.from_policy(key).id for key in trust.policy.keys.values()}
        assert not {key.public.id for key in self.former} & ({head.key for head in trust.policy.head_keys})
        assert {head.key for head in trust.policy.head_keys} <= named
        head = parse_head(envelope.unverified_payload)
        assert (head.trust.root, head.trust.targets) == (trust.root_version, trust.targets_version)

    def _holds(self, host: Host) -> None:
        found = host.sync()
        assert found.trust.root_version == self.acme.authority.repository.trust().root_version
        assert [label for label in self.revoked if not found.revocations.lists(digest(label))] == []

    def teardown(self) -> None:
        try:
            for host in (*self.hosts, self.acme.host("last")):
                self._holds(host)
            self.acme.authority.verify_audit(self.acme.now)
        finally:
            self._context.__exit__(None, None, None)
            self._place.cleanup()


def test_hosts_follow_every_history() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=2, stateful_step_count=8, deadline=None))
