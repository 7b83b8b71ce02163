"""A cache of verdicts never changes what is decided: over random changes, with it and without it, the same."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.simulator import EVERYTHING, NOW, Simulator
from verifier.errors import Refused
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import VerifiedPlugin, verify
from verifier.private_cache import PrivateCache

ROLES = ("builder", "owner", "certifier", "rebuilder")
OTHERS = ("other-builder", "other-owner", "other-certifier", "second-rebuilder")

POLICY = st.one_of(
    st.tuples(
        st.sampled_from([f"principals.{role}.status" for role in ROLES]),
        st.sampled_from(["retired", "revoked", "active"]),
    ),
    st.tuples(st.sampled_from([f"principals.{role}.accepted" for role in ROLES]), st.sampled_from([[], ["$wheel"]])),
    st.tuples(
        st.sampled_from([f"plugins.sample_plugin.{role}s" for role in ROLES[:3]]),
        st.sampled_from([[name] for name in (*OTHERS[:3], *ROLES[:3])]),
    ),
    st.tuples(st.just("tiers.core.require"), st.sampled_from([["sbom"], ["provenance", "sbom", "certification"]])),
    st.tuples(st.just("tiers.core.builders"), st.sampled_from([1, 2])),
    st.tuples(st.just("denied_plugins"), st.sampled_from([[], ["sample_plugin"]])),
    st.tuples(st.just("plugins.sample_plugin.min_version"), st.sampled_from(["0.9", "2.0"])),
    st.tuples(st.just("certifiers.certifier.max_tier"), st.sampled_from(["core", "untrusted"])),
)
CHANGE = st.one_of(
    *[st.tuples(st.just("policy"), POLICY)] * 6,  # of what may change, the policy has the most ways
    st.tuples(st.just("revoke"), st.sampled_from(["$wheel", "$other"])),
    st.tuples(st.just("time"), st.sampled_from([timedelta(hours=1), timedelta(days=1), timedelta(days=40)])),
    st.tuples(st.just("drop"), st.integers(0, 5)),
    st.tuples(st.just("swap"), st.integers(0, 5)),
    st.tuples(st.just("twice"), st.integers(0, 5)),
    st.tuples(st.just("damage"), st.integers(0, 10_000)),
    st.tuples(st.just("whole"), st.none()),
    st.tuples(st.just("wheel"), st.booleans()),
)


class Scene:
    """One deployment, what a host holds, and what changes."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.wheel = self.honest = self.sim.wheel()
        self.other = self.sim.wheel(files={"sample_plugin/more.py": b""})
        self.signed = self.sim.attest(self.honest)
        self.foreign = self.sim.attest(self.other)
        self.attestations = self.signed
        self.now = NOW

    def change(self, kind: str, value: Any) -> None:
        lines = self.attestations.splitlines(keepends=True)
        match kind:
            case "policy":
                digests = [self.honest.digest if entry == "$wheel" else entry for entry in _listed(value[1])]
                self.sim.policy(value[0], digests if isinstance(value[1], list) else value[1])
            case "revoke":
                self.sim.revoke(self.honest.digest if value == "$wheel" else self.other.digest)
            case "time":
                self.now += value
            case "drop":
                self.attestations = b"".join(line for number, line in enumerate(lines) if number != value)
            case "swap":
                foreign = self.foreign.splitlines(keepends=True)
                lines[value : value + 1] = foreign[value : value + 1]
                self.attestations = b"".join(lines)
            case "twice":
                self.attestations = b"".join([*lines, *lines[value : value + 1]])
            case "damage":
                place = value % max(len(self.attestations), 1)
                self.attestations = self.attestations[:place] + b"A" + self.attestations[place + 1 :]
            case "whole":
                self.attestations = self.signed
            case "wheel":
                self.wheel = self.other if value else self.honest

    def judge(self, verdicts: Verdicts | None) -> object:
        """The facts, or the refusal's code, step and words."""
        try:
            ground = self.sim.ground(self.now)
            wheel = self.wheel
            found = verify(
                wheel.data, wheel.file_name, self.attestations, ground, self.now, EVERYTHING, verdicts=verdicts
            )
        except Refused as error:
            return error.code, error.step, error.what, error.found
        assert isinstance(found, VerifiedPlugin)
        return structs.replace(found, snapshot=None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@settings(deadline=None, derandomize=True, database=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(CHANGE, min_size=1, max_size=6))
def test_a_verdict_with_the_cache_is_the_verdict_without(changes: list[tuple[str, Any]]) -> None:
    scene = Scene()
    with tempfile.TemporaryDirectory() as place:
        kept = Verdicts(PrivateCache(Path(place, "cache")))
        assert scene.judge(kept) == scene.judge(None)
        for kind, value in changes:
            scene.change(kind, value)
            without = scene.judge(None)
            assert scene.judge(kept) == without  # whatever was kept of before
            assert scene.judge(kept) == without  # and of this very state
