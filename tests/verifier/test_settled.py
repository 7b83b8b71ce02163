"""What a set, its wheel and the policy settle by themselves is not judged again; what anything else bears on is, with
the code that it has without a cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.hosts import HostedDeployment, code_of
from tests.simulator import EVERYTHING, NOW, Simulator
from tests.simulator.findings import waived, with_check
from tests.verifier.installations import install, sync
from tests.verifier.test_waivers import waiver
from verifier import this_code as code
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.text import Digest, Time
from verifier.installed.content import read_installed
from verifier.judging import verdicts, verify
from verifier.judging.decide import Request
from verifier.judging.steps import Outcome
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import VerifiedPlugin
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel import read_wheel

DAY = timedelta(days=1)
PURE = (
    "weigh", "check_subjects", "check_manifest", "check_embedded", "check_sbom", "tier_of", "check_provenance",
    "check_roles", "check_certification", "check_layout",
)  # fmt: skip
"""The checks of which nothing but set, wheel, policy and code decides."""


class Host:
    """One plugin with all that may end: certification, manifest, audit, a check's waiver; and a cache."""

    def __init__(self, place: Path) -> None:
        self.sim = Simulator()
        self.sim.demand_findings(max_waiver="P90D", max_audit_age="P60D")
        self.sim.policy("valid_until", Time.of(NOW + 25 * DAY))
        self.wheel = self.sim.wheel()
        claims = self.sim.claims(self.wheel)
        claims["manifest"].predicate["dependencies"] = [
            {"name": "parser", "version": "2.0", "sha256": "sha256:" + "2" * 64}
        ]
        claims["sbom"].predicate["components"].append({"type": "library", "name": "parser", "version": "2.0"})
        claims["manifest"].predicate["sdk_allowlist"].append("parser")
        self.sim.add_findings(claims, self.wheel)
        self.claims = claims
        self.place = place
        self.now = NOW
        self.steps: list[Outcome] = []

    def sign(self) -> None:
        self.claims.pin()
        self.attestations = self.claims.sign()

    def judge(self, *, cached: bool = True, request: Request = EVERYTHING) -> VerifiedPlugin:
        """As a start of its own does."""
        kept = Verdicts(PrivateCache(self.place)) if cached else None
        self.steps = []
        ground = self.sim.ground(self.now)
        return verify.verify(
            self.wheel.data, self.wheel.file_name, self.attestations, ground, self.now, request,
            self.steps.append, verdicts=kept,
        )  # fmt: skip

    @property
    def was_settled(self) -> bool:
        return "before" in self.steps[3].detail


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "cache")


def test_what_is_settled_is_not_asked_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.sign()
    first = host.judge()
    assert not host.was_settled

    def asked(*_: object) -> None:
        raise AssertionError("asked again")

    for name in PURE:
        monkeypatch.setattr(verify, name, asked)
    second = host.judge()
    assert host.was_settled
    assert structs.replace(first, snapshot=None) == structs.replace(second, snapshot=None)
    for name in PURE:
        monkeypatch.undo()
        monkeypatch.setattr(verify, name, asked)
        assert code_of(lambda: host.judge(cached=False)) == "internal.unexpected", name


# -- what ends ---------------------------------------------------------------------------------------------------------


def end_certification(host: Host, moment: datetime) -> None:
    host.claims["certification"].predicate[CERTIFICATION_FIELD]["expires"] = Time.of(moment)


def end_waived_certification(host: Host, moment: datetime) -> None:
    end_certification(host, NOW - DAY)
    times = {"granted": Time.of(NOW - DAY), "until": Time.of(moment)}
    host.sim.policy("waivers", [waiver(host.wheel.digest, **times)])


def end_manifest(host: Host, moment: datetime) -> None:
    host.claims["manifest"].predicate["expires_at"] = Time.of(moment)


def end_audit(host: Host, moment: datetime) -> None:
    host.claims["audit"].predicate["scanner"]["db"]["lastUpdate"] = Time.of(moment - 60 * DAY)


def end_waiver_of_a_check(host: Host, moment: datetime) -> None:
    with_check(host.claims["checks"].predicate, "egress-tests", waived(Time.of(moment)))


def end_list(host: Host, moment: datetime) -> None:
    host.sim.policy("tiers.core.grace", "PT1H")


def end_policy(host: Host, moment: datetime) -> None:
    host.sim.policy("valid_until", Time.of(moment))


ENDS: dict[str, tuple[Callable[[Host, datetime], None], str]] = {
    "the certification": (end_certification, "certification.expired"),
    "the waiver of a certification's end": (end_waived_certification, "certification.expired"),
    "the manifest": (end_manifest, "manifest.expired"),
    "the audit": (end_audit, "vulnerabilities.too-old"),
    "the waiver of a check": (end_waiver_of_a_check, "checks.waiver-expired"),
    "the policy": (end_policy, "trust.expired"),
}


@pytest.mark.parametrize("what", ENDS)
def test_what_has_ended_since_is_refused(host: Host, what: str) -> None:
    prepare, code = ENDS[what]
    prepare(host, NOW + timedelta(minutes=30))
    host.sign()
    host.judge()
    host.judge()
    assert host.was_settled
    host.now = NOW + timedelta(minutes=31)
    assert code_of(host.judge) == code
    assert code_of(lambda: host.judge(cached=False)) == code


# -- what else changes -------------------------------------------------------------------------------------------------


def newer(host: Host) -> Request:
    host.sim.policy("plugins.sample_plugin.min_version", "1.1")
    return EVERYTHING


def deny(host: Host) -> Request:
    host.sim.policy("denied_artifacts", [host.wheel.digest])
    return EVERYTHING


def withdraw(host: Host) -> Request:
    host.sim.policy("withdrawn", [host.claims["certification"].digest])
    return EVERYTHING


def trust_less(host: Host) -> Request:
    host.sim.policy("certifiers.certifier.max_tier", "vetted")
    return EVERYTHING


def demand_a_layout(host: Host) -> Request:
    host.sim.policy("tiers.core.require", [*host.sim.rules["tiers"]["core"]["require"], "layout"])
    return EVERYTHING


def demand_builders(host: Host) -> Request:
    host.sim.policy("tiers.core.builders", 2)
    return EVERYTHING


def revoke(host: Host) -> Request:
    host.sim.revoke(host.wheel.digest)
    return EVERYTHING


def revoke_dependency(host: Host) -> Request:
    host.sim.revoke("sha256:" + "2" * 64)
    return EVERYTHING


def asks(**fields: Any) -> Callable[[Host], Request]:
    return lambda _: structs.replace(EVERYTHING, **fields)


CHANGES: dict[str, tuple[Callable[[Host], Request], str]] = {
    "the lowest version": (newer, "decision.min-version"),
    "the list of what is denied": (deny, "decision.denied"),
    "a certification, withdrawn": (withdraw, "certification.withdrawn"),
    "what a certifier may": (trust_less, "certification.tier"),
    "a layout, demanded": (demand_a_layout, "certification.layout"),
    "how many have to build": (demand_builders, "provenance.threshold"),
    "the artifact, revoked": (revoke, "revoked.artifact"),
    "a dependency, revoked": (revoke_dependency, "revoked.dependency"),
    "a classification, asked for": (asks(classification="secret"), "decision.classification"),
    "a hermetic run, asked for": (asks(hermetic=True), "decision.hermetic"),
    "what the host isolates": (asks(isolations=frozenset({"sandbox"})), "decision.isolation"),
    "what the host has": (asks(provided={"attrs": "0.1"}.get), "dependency.unavailable"),
    "a strict run": (asks(strict=True), "decision.strict"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_since_is_judged(host: Host, what: str) -> None:
    end_manifest(host, NOW + DAY)  # which warns, and nothing more
    host.sign()
    host.judge()
    change, code = CHANGES[what]
    request = change(host)
    assert code_of(lambda: host.judge(request=request)) == code
    assert code_of(lambda: host.judge(cached=False, request=request)) == code


# -- what an entry is kept under ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["msgspec", "packaging", "cryptography"])
def test_with_another_release_of_a_library_it_is_asked_again(
    host: Host, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.sign()
    host.judge()
    monkeypatch.setattr(getattr(code, library), "__version__", "0.0")
    monkeypatch.setattr(verdicts, "this_code", code.this_code.__wrapped__)
    host.judge()
    assert not host.was_settled


def test_with_another_interpreter_it_is_asked_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.sign()
    host.judge()
    monkeypatch.setattr(sys, "version", "3.99")
    monkeypatch.setattr(verdicts, "this_code", code.this_code.__wrapped__)
    host.judge()
    assert not host.was_settled


def test_another_wheel_with_the_same_set_is_asked_and_refused(host: Host) -> None:
    host.sign()
    host.judge()
    host.wheel = host.sim.wheel(files={"sample_plugin/more.py": b""})
    assert code_of(host.judge) == "subject.digest"


def test_another_name_of_the_wheel_is_asked_and_refused(host: Host) -> None:
    host.sign()
    host.judge()
    host.wheel = dataclasses.replace(host.wheel, file_name="other_plugin-1.0-py3-none-any.whl")
    assert code_of(host.judge) == "signature.wrong-signer"


def test_one_that_was_refused_is_settled_by_nothing(host: Host) -> None:
    host.sign()
    for _ in range(2):
        assert code_of(lambda: host.judge(request=CHANGES["a hermetic run, asked for"][0](host))) == "decision.hermetic"
        assert not host.was_settled


def test_a_set_that_is_changed_while_it_is_judged_is_kept_as_it_was_judged(host: Host) -> None:
    """What was judged is a copy, so nothing is kept under the bytes that a buffer has held since."""
    host.sign()
    honest, other = host.attestations, b"".join(host.attestations.splitlines(keepends=True)[1:])
    buffer = bytearray(honest)

    def judge(attestations: bytes | bytearray, observe: Callable[[Outcome], None] | None = None) -> None:
        kept = Verdicts(PrivateCache(host.place))
        wheel, ground = host.wheel, host.sim.ground(NOW)
        verify.verify(
            wheel.data, wheel.file_name, attestations, ground, NOW, EVERYTHING, observe, verdicts=kept  # type: ignore[arg-type]
        )  # fmt: skip

    def exchange(outcome: Outcome) -> None:
        if outcome.step == 3:
            buffer[:] = other

    judge(buffer, exchange)
    assert code_of(lambda: judge(other)) == "set.statement-missing"
    host.judge()
    assert host.was_settled


# -- several plugins, and installed ones -------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def test_a_plugin_that_claims_the_same_modules_since_is_refused(hosted: HostedDeployment, tmp_path: Path) -> None:
    code = {"sample_plugin/__init__.py": "def hello(): return 'hello'"}
    mine, other = hosted.plugin(code), hosted.plugin(code, name="other-plugin")
    for wheel in (mine, other):
        hosted.gate(cache=tmp_path / "cache").load(wheel)
        hosted.unload()
    gate = hosted.gate(cache=tmp_path / "cache")
    gate.load(mine)
    assert code_of(lambda: gate.load(other)) == "wheel.shadowing"


def test_an_installed_file_that_was_changed_since_is_found(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel = hosted.plugin()
    hosted.policy("tiers.core.assurance", "installed")
    hosted.refresh()
    site = install(tmp_path / "site", wheel)
    sync(hosted, site)
    for _ in range(2):
        hosted.gate(cache=tmp_path / "cache").verify_installed("sample-plugin", site=site)
    (site / "sample_plugin" / "__init__.py").write_text("def hello(): return 'other'")
    code = code_of(lambda: hosted.gate(cache=tmp_path / "cache").verify_installed("sample-plugin", site=site))
    assert code == code_of(lambda: hosted.gate().verify_installed("sample-plugin", site=site)) == "installed.changed"


def test_what_an_installed_copy_settles_is_not_taken_for_its_wheel(host: Host, tmp_path: Path) -> None:
    """An owner pins the RECORD of other files: as installed they are what was signed, and the wheel is not."""
    name, digest = host.wheel.file_name, Digest(host.wheel.digest)
    wheel = read_wheel(host.wheel.data, name)
    dist_info, others = wheel.dist_info, {path for path in wheel.files if path.startswith("sample_plugin/")}
    record = b"".join(line for line in host.wheel.record.splitlines(True) if line.split(b",")[0].decode() not in others)
    for path in wheel.files.keys() - others:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(wheel.files[path])
    host.claims["manifest"].predicate["record_digest"] = f"sha256:{hashlib.sha256(record).hexdigest()}"
    host.sim.policy("tiers.core.assurance", "installed")
    host.sign()
    installed = verify.Candidate(
        name, "installed", lambda: (digest, "as installed"),
        lambda _: read_installed(str(tmp_path), record, dist_info, name, digest),
    )  # fmt: skip
    kept = Verdicts(PrivateCache(host.place))
    verify.judge(installed, host.attestations, host.sim.ground(NOW), NOW, EVERYTHING, verdicts=kept)
    assert code_of(lambda: host.judge(cached=False)) == "manifest.record"
    assert code_of(host.judge) == "manifest.record"
