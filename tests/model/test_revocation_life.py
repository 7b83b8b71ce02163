"""The life of a revocation, played at random: a service that may crash, hosts that lag, a thief of the head key.

What must hold whatever happens:

- what was acknowledged is on the published list, and stays there until two offline keys take it back;
- a host that nobody lied to takes what the service publishes, and then denies exactly what the books deny;
- a host that the thief lied to does so too, once the service has recovered;
- no host that denied an artifact ever allows it again, but for a checkpoint that names it, or that cut off what was
  known online only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.model import books
from tests.model.books import Books, Refusal
from tests.model.deployment import ARTIFACTS, Deployment, View, digest, signer_of
from tests.model.hosts import Host, Thief
from verifier.errors import Refused

artifacts = st.sampled_from(ARTIFACTS)
several = st.frozensets(artifacts, min_size=1, max_size=2)
few = st.just(frozenset[int]()) | several
people = st.sampled_from(("alice", "bob"))
HOSTS = 3


class Life(RuleBasedStateMachine):
    """One deployment and its hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.deployment = Deployment()
        self.hosts = [Host(self.deployment.view, self.deployment.now) for _ in range(HOSTS)]
        self.lied_to = [False] * HOSTS
        self.thief: Thief | None = None

    # -- what people do ------------------------------------------------------------------------------------------------

    def commit(self, change: Callable[[Books], Books], crash: bool = False) -> None:
        """One transaction; unless the service dies first, a publication follows."""
        with suppress(Refusal):
            self.deployment.books = change(self.deployment.books)
        if not crash:
            self.publish()

    @rule(artifact=artifacts)
    def admit(self, artifact: int) -> None:
        self.commit(lambda known: books.admit(known, artifact, signer_of(artifact)))
        assert (artifact in self.deployment.books.artifacts) or self.deployment.books.denied(
            artifact, signer_of(artifact)
        )

    @rule(those=several, crash=st.booleans())
    def revoke(self, those: frozenset[int], crash: bool) -> None:
        self.commit(lambda known: books.revoke(known, those), crash)
        if not crash:
            assert all(self.deployment.current.lists(digest(artifact)) for artifact in those)

    @rule(those=several)
    def merge(self, those: frozenset[int]) -> None:
        """Something new, published in as few segments as the rules allow: hosts that lag have never seen the like."""
        before = self.deployment.current.head
        self.commit(lambda known: books.revoke(known, those), crash=True)
        self.deployment.tick()
        if self.deployment.books.seq > max(before.seq, self.deployment.trust.checkpoint.through):
            self.deployment.publish(merge=True)
            prepared = self.deployment.books.plan is not None
            assert len(self.deployment.current.head.segments) <= (3 if prepared else 2)
        else:
            self.deployment.publish()  # of the same events the segments stay the same
        assert all(self.deployment.current.lists(digest(artifact)) for artifact in those)

    @rule(signer=st.sampled_from("ab"), excepted=few, crash=st.booleans())
    def add_rule(self, signer: str, excepted: frozenset[int], crash: bool) -> None:
        if self.deployment.books.last_rule < 3:
            self.commit(lambda known: books.add_rule(known, books.Rule(signer, excepted)), crash)

    @rule(place=st.none() | st.integers(0, 5), number=st.none() | st.integers(1, 3), by=people, approved_by=people)
    def take_back(self, place: int | None, number: int | None, by: str, approved_by: str) -> None:
        listed = sorted(self.deployment.books.listed)
        artifact = listed[place % len(listed)] if listed and place is not None else place
        if artifact is None and number is None:
            return
        before = self.deployment.books
        self.commit(lambda known: books.request(known, by, artifact=artifact, rule=number), crash=True)
        if self.deployment.books is not before:
            asked = self.deployment.books.last_request
            self.commit(lambda known: books.approve(known, asked, approved_by))
            assert (self.deployment.books.requests[asked].approved_by is None) == (by == approved_by)

    @rule()
    def publish(self) -> None:
        self.deployment.tick()
        self.deployment.publish()

    # -- what the holders of offline keys do ---------------------------------------------------------------------------

    @rule()
    def prepare(self) -> None:
        self.deployment.prepare()

    @precondition(lambda self: self.deployment.books.plan is not None)
    @rule()
    def checkpoint(self) -> None:
        self.deployment.tick()
        self.deployment.publish_checkpoint()

    @rule(times=st.integers(1, 3))
    def checkpoints(self, times: int) -> None:
        """Several in a row, so that a host skips some."""
        for _ in range(times):
            self.prepare()
            self.checkpoint()

    @precondition(lambda self: self.thief is not None)
    @rule()
    def recover(self) -> None:
        self.deployment.tick()
        self.deployment.recover()
        self.thief = None
        self.lied_to = [False] * HOSTS

    # -- what happens to hosts -----------------------------------------------------------------------------------------

    @rule(number=st.integers(0, HOSTS - 1))
    def refresh(self, number: int) -> None:
        host = self.hosts[number]
        if self.lied_to[number]:
            with suppress(Refused):  # an alarm, until the service recovers
                self.show(host, self.deployment.view)
        else:
            self.show(host, self.deployment.view)
            assert host.list.envelope == self.deployment.current.envelope

    @rule(number=st.integers(0, HOSTS - 1), back=st.integers(0, 8))
    def replay(self, number: int, back: int) -> None:
        """Somebody shows what was true once."""
        envelope = self.deployment.envelopes[max(0, len(self.deployment.envelopes) - 1 - back)]
        with suppress(Refused):
            self.show(self.hosts[number], View(envelope, self.deployment.files, self.deployment.trust))

    @rule(
        number=st.integers(0, HOSTS - 1),
        hide=few,
        invent=few,
        hide_rules=st.just(frozenset()) | st.frozensets(st.integers(1, 3), max_size=2),
        jump=st.sampled_from((0, 1, 1, 2, 1_000_000, -1)),
        from_host=st.booleans(),
    )
    def lie(
        self,
        number: int,
        hide: frozenset[int],
        invent: frozenset[int],
        hide_rules: frozenset[int],
        jump: int,
        from_host: bool,
    ) -> None:
        """The thief, who has the head key from now on, stands between a host and the service."""
        self.thief = self.thief or Thief(self.deployment.keys[-1])
        host = self.hosts[number]
        known = host.list if from_host else self.deployment.current
        view = self.thief.forge(
            self.deployment,
            self.deployment.trust,
            base_on=known,
            hide=hide,
            invent=invent,
            hide_rules=hide_rules,
            jump=jump,
        )
        with suppress(Refused):
            self.show(host, view)
            self.lied_to[number] = True

    def show(self, host: Host, view: View) -> None:
        """Let a host refresh, and hold it to what it denied before."""
        denied = {artifact: host.last_event_with(artifact) for artifact in ARTIFACTS if host.denies(artifact)}
        epoch = host.list.head.epoch
        try:
            host.refresh(view, self.deployment.now)
        finally:
            for artifact, event in denied.items():
                assert host.denies(artifact) or self.was_taken_back(artifact, event, epoch, host.list.head.epoch), (
                    f"{artifact} is allowed again"
                )

    def was_taken_back(self, artifact: int, event: int, before: int, now: int) -> bool:
        """Whether two offline signatures between two epochs say so."""
        for epoch in range(before + 1, now + 1):
            freed, through = self.deployment.freed[epoch]
            if epoch in self.deployment.cuts or (artifact in freed and event <= through):
                return True
        return False

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def hosts_agree_with_the_books(self) -> None:
        known = self.deployment.books
        for host in self.hosts:
            if host.list.envelope == self.deployment.current.envelope and known.seq == self.deployment.current.head.seq:
                for artifact in ARTIFACTS:
                    assert host.denies(artifact) == known.denied(artifact, signer_of(artifact))


# A run that fails is printed as it was played: making it shorter takes minutes.
Life.TestCase.settings = settings(
    deadline=None, derandomize=True, database=None, max_examples=150, stateful_step_count=30, phases=[Phase.generate]
)
TestLife = Life.TestCase
