"""Verification as a whole: order, boundaries, what it stands on and gives back. Refusals: test_verify_vectors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from tests.simulator import EVERYTHING, NOW, PluginWheel, Simulator
from verifier.errors import Refused, UsageError
from verifier.formats.enrolment import Floor
from verifier.formats.statement import CERTIFICATION, MANIFEST, PROVENANCE, SBOM
from verifier.formats.text import Name, Time
from verifier.judging.decide import Request
from verifier.judging.steps import STEPS, Outcome
from verifier.judging.verify import VerifiedPlugin, verify


@pytest.fixture(scope="module")
def sim() -> Simulator:
    return Simulator()


@pytest.fixture(scope="module")
def wheel(sim: Simulator) -> PluginWheel:
    return sim.wheel()


@pytest.fixture(scope="module")
def attestations(sim: Simulator, wheel: PluginWheel) -> bytes:
    return sim.attest(wheel)


def refusal(call: Callable[[], VerifiedPlugin]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


# -- the boundary: whatever nobody foresaw is a refusal ----------------------------------------------------------------


@pytest.mark.parametrize("junk", [None, "a wheel", 12, 10**12, [1, 2], object()])
def test_a_wheel_that_is_no_bytes_is_refused(sim: Simulator, attestations: bytes, junk: Any) -> None:
    error = refusal(lambda: verify(junk, "sample_plugin-1.0-py3-none-any.whl", attestations, sim.ground(), NOW))
    assert (error.code, error.step) == ("internal.unexpected", 1)


@pytest.mark.parametrize("junk", ["a set", 12, 10**12, [1, 2], object()])
def test_a_set_that_is_no_bytes_is_refused(sim: Simulator, wheel: PluginWheel, junk: Any) -> None:
    error = refusal(lambda: verify(wheel.data, wheel.file_name, junk, sim.ground(), NOW))
    assert (error.code, error.step) == ("internal.unexpected", 3)


@pytest.mark.parametrize("junk", [None, b"sample_plugin-1.0-py3-none-any.whl", 12])
def test_a_file_name_that_is_no_text_is_refused(
    sim: Simulator, wheel: PluginWheel, attestations: bytes, junk: Any
) -> None:
    error = refusal(lambda: verify(wheel.data, junk, attestations, sim.ground(), NOW))
    assert (error.code, error.step) == ("internal.unexpected", 4)


@pytest.mark.parametrize("moment", [NOW.replace(tzinfo=None), None, 0])
def test_a_moment_without_a_time_zone_is_refused(
    sim: Simulator, wheel: PluginWheel, attestations: bytes, moment: Any
) -> None:
    error = refusal(lambda: verify(wheel.data, wheel.file_name, attestations, sim.ground(), moment))
    assert (error.code, error.step) == ("internal.unexpected", 0)


@pytest.mark.parametrize("error", [OSError("no"), RecursionError(), MemoryError(), AssertionError("\x1b[31mred")])
def test_an_unexpected_error_is_a_refusal_that_names_its_kind(
    sim: Simulator, wheel: PluginWheel, attestations: bytes, error: Exception
) -> None:
    def provided(name: str) -> str:
        raise error

    request = structs.replace(EVERYTHING, provided=provided)
    found = refusal(lambda: sim.verify(wheel, attestations, request=request))
    assert (found.code, found.step) == ("internal.unexpected", 8)
    assert type(error).__name__ in found.found
    assert found.found.isprintable()
    assert found.__cause__ is error


def test_an_interrupt_is_not_taken_for_a_refusal(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    def provided(name: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sim.verify(wheel, attestations, request=structs.replace(EVERYTHING, provided=provided))


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("kind", [OSError, UsageError])
def test_an_observer_that_fails_lets_nothing_pass(
    sim: Simulator, wheel: PluginWheel, attestations: bytes, step: int, kind: type[Exception]
) -> None:
    def observe(outcome: Outcome) -> None:
        if outcome.step == step:
            raise OSError("disk full") if kind is OSError else UsageError("io.failed", "disk full")

    expected = Refused if kind is OSError else UsageError
    with pytest.raises(expected) as caught:
        sim.verify(wheel, attestations, observe=observe)
    assert isinstance(caught.value, Refused | UsageError)
    assert caught.value.code == ("internal.unexpected" if kind is OSError else "io.failed")
    assert caught.value.step == step


def test_an_observer_that_fails_does_not_hide_a_refusal(sim: Simulator, wheel: PluginWheel) -> None:
    def observe(outcome: Outcome) -> None:
        if outcome.outcome == "refused":
            raise OSError("disk full")

    error = refusal(lambda: sim.verify(wheel, None, observe=observe))
    assert (error.code, error.step) == ("set.missing", 3)
    assert "OSError" in error.__notes__[0]


# -- one read: what is judged is what is returned ----------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 12))
def test_a_buffer_that_changes_while_it_is_judged_changes_nothing(
    sim: Simulator, wheel: PluginWheel, attestations: bytes, step: int
) -> None:
    data, signed = bytearray(wheel.data), bytearray(attestations)

    def observe(outcome: Outcome) -> None:
        if outcome.step == step:
            data[:] = sim.wheel("other-plugin").data
            signed[:] = b"" if step >= 3 else signed

    facts = verify(data, wheel.file_name, signed, sim.ground(), NOW, EVERYTHING, observe)  # type: ignore[arg-type]
    assert facts.artifact_digest == facts.snapshot.digest == wheel.digest
    assert facts.snapshot.files["sample_plugin/__init__.py"].startswith(b"def hello")


def test_bytes_that_lie_about_themselves_are_copied(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    class Liar(bytes):
        def __bytes__(self) -> bytes:
            return b"something else"

    facts = verify(Liar(wheel.data), wheel.file_name, Liar(attestations), sim.ground(), NOW, EVERYTHING)
    assert facts.artifact_digest == wheel.digest


def test_a_view_is_read_like_bytes(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    view = memoryview(bytearray(wheel.data))
    facts = verify(view, wheel.file_name, memoryview(attestations), sim.ground(), NOW, EVERYTHING)  # type: ignore[arg-type]
    assert facts.artifact_digest == wheel.digest


# -- the ground: parts that do not belong together ---------------------------------------------------------------------


def test_a_list_of_another_deployment_is_refused_though_it_was_opened(sim: Simulator, wheel: PluginWheel) -> None:
    foreign = structs.replace(sim.ground(), revocations=Simulator(deployment="globex").revocations())
    error = refusal(lambda: verify(wheel.data, wheel.file_name, sim.attest(wheel), foreign, NOW))
    assert (error.code, error.step) == ("list.deployment", 2)


def test_a_list_from_under_an_older_checkpoint_is_refused(wheel: PluginWheel) -> None:
    sim = Simulator()
    old = sim.revocations()
    sim.repository.publish_checkpoint(NOW, sim.lists.checkpoint(revoked=[wheel.digest.removeprefix("sha256:")]))
    mixed = structs.replace(sim.ground(), revocations=old)
    error = refusal(lambda: verify(wheel.data, wheel.file_name, sim.attest(wheel), mixed, NOW))
    assert (error.code, error.step) == ("list.epoch", 2)


@pytest.mark.parametrize(("epoch", "seq", "good"), [(1, 1, True), (1, 2, False)])
def test_a_list_below_the_floor_is_refused(wheel: PluginWheel, epoch: int, seq: int, good: bool) -> None:
    sim = Simulator()
    sim.revoke(sim.wheel("other-plugin").digest)
    sim.floor = Floor(root=1, targets=1, epoch=epoch, seq=seq)
    if good:
        assert sim.verify(wheel, sim.attest(wheel)).list_seq == 1
    else:
        assert refusal(lambda: sim.verify(wheel, sim.attest(wheel))).code == "list.rollback"


def test_a_ground_takes_its_keys_from_its_trust(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    other = Simulator()
    swapped = structs.replace(sim.ground(), trust=other.trust(), revocations=other.revocations())
    error = refusal(lambda: verify(wheel.data, wheel.file_name, attestations, swapped, NOW))
    assert error.code == "signature.unknown-signer"


def test_time_is_the_later_of_clock_and_signed_floor(sim: Simulator) -> None:
    ground = sim.ground()
    later = structs.replace(ground, time_floor=Time.of(NOW + timedelta(minutes=4)))
    assert ground.fix_time(NOW + timedelta(hours=1)) == NOW + timedelta(hours=1)
    assert later.fix_time(NOW) == NOW + timedelta(minutes=4)
    assert structs.replace(ground, time_floor=Time("2020-01-01T00:00:00Z")).fix_time(NOW) == NOW


# -- what others wrote -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (("components", 0, "name"), "sbom.not-allowed"),
        (("components", 0, "version"), "sbom.not-allowed"),
        (("metadata", "component", "name"), "sbom.subject"),
        (("metadata", "component", "version"), "sbom.subject"),
    ],
)
def test_a_message_quotes_what_others_wrote_shortly(
    sim: Simulator, wheel: PluginWheel, place: tuple[Any, ...], code: str
) -> None:
    claims = sim.claims(wheel)
    inner = claims["sbom"].predicate
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "\x1b[2J\n" + "x" * 1_000_000
    claims.pin()
    error = refusal(lambda: sim.verify(wheel, claims.sign()))
    assert error.code in (code, "format.schema")
    assert len(str(error)) < 1000
    assert str(error).replace("\n", "").isprintable()


def test_all_components_that_are_not_allowed_are_named_at_once(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    claims["manifest"].predicate["sdk_allowlist"] = ["known>=1", "old>=2"]
    parts = [("known", "1.0"), ("old", "1.0"), *((f"part-{number}", "1.0") for number in range(6))]
    claims["sbom"].predicate["components"] = [
        {"type": "library", "name": name, "version": version} for name, version in parts
    ]
    claims.pin()
    error = refusal(lambda: sim.verify(wheel, claims.sign()))
    named = "'old' '1.0', 'part-0' '1.0', 'part-1' '1.0', 'part-2' '1.0', 'part-3' '1.0' and 2 more"
    assert (error.code, error.found, error.expected) == ("sbom.not-allowed", named, "old>=2")


@pytest.mark.parametrize(
    ("requirements", "versions", "code"),
    [
        (
            [f"part=={number}.1" for number in range(500)],
            [f"1.{number}+x" for number in range(201)],
            "format.too-large",
        ),
        (["part>=1"], ["1." + "0." * 499 + "1"], "sbom.not-allowed"),
    ],
)
def test_an_sbom_that_would_take_minutes_to_compare_is_refused(
    sim: Simulator, wheel: PluginWheel, requirements: list[str], versions: list[str], code: str
) -> None:
    claims = sim.claims(wheel)
    claims["manifest"].predicate["sdk_allowlist"] = requirements
    claims["sbom"].predicate["components"] = [
        {"type": "library", "name": "part", "version": version} for version in versions
    ]
    claims.pin()
    assert refusal(lambda: sim.verify(wheel, claims.sign())).code == code


def test_a_subjects_name_is_quoted_shortly(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    claims["sbom"].subjects = [{"name": "\x1b[2J\n" + "x" * 1_000_000, "digest": {"sha256": "0" * 64}}]
    error = refusal(lambda: sim.verify(wheel, claims.sign()))
    assert error.code in ("subject.digest", "format.schema")
    assert len(str(error)) < 1000


def test_a_large_sbom_is_judged_in_one_pass(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    claims["manifest"].predicate["sdk_allowlist"] = [f"part-{number}>=1" for number in range(500)]
    claims["sbom"].predicate["components"] = [
        {"type": "library", "name": f"Part.{number % 500}", "version": f"1.{number}"} for number in range(20_000)
    ]
    claims.pin()
    assert sim.verify(wheel, claims.sign()).tier == "core"


# -- the steps and the result ------------------------------------------------------------------------------------------


def test_each_step_is_told_once_and_in_order(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    told: list[Outcome] = []
    sim.verify(wheel, attestations, observe=told.append)
    assert [(outcome.step, outcome.title) for outcome in told] == list(enumerate(STEPS))
    assert {outcome.outcome for outcome in told} == {"passed"}
    assert all(outcome.ms >= 0 for outcome in told)
    assert all(outcome.detail.isprintable() for outcome in told)


def test_the_first_refusal_is_the_last_word(sim: Simulator, wheel: PluginWheel) -> None:
    told: list[Outcome] = []
    refusal(lambda: sim.verify(wheel, b"", observe=told.append))
    assert [outcome.outcome for outcome in told] == ["passed", "passed", "passed", "refused"]
    assert told[-1].detail.startswith("[set.count]")


def test_the_facts_are_those_that_were_signed(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    facts = sim.verify(wheel, claims.sign(), now=NOW + timedelta(hours=1))
    assert (facts.plugin_id, facts.version, facts.tier) == ("sample_plugin", "1.0", "core")
    assert facts.artifact_digest == facts.snapshot.digest == facts.manifest.artifact_digest == wheel.digest
    kinds = {MANIFEST: "manifest", SBOM: "sbom", PROVENANCE: "provenance", CERTIFICATION: "certification"}
    assert facts.statements == {kind: claims[title].digest for kind, title in kinds.items()}
    assert facts.signers == {kind: claims[title].signer.name for kind, title in kinds.items()}
    assert (facts.list_epoch, facts.list_seq, facts.list_age) == (1, 0, timedelta(hours=1))
    assert (facts.policy_version, facts.verified_at) == (1, NOW + timedelta(hours=1))
    assert facts.warnings == ()


def test_what_does_not_count_is_not_among_the_facts(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    claims["certification"].signer = sim.people["stranger"]
    facts = sim.verify(wheel, claims.sign())
    assert set(facts.signers) == set(facts.statements) == {MANIFEST, SBOM, PROVENANCE}


def test_the_result_cannot_be_changed(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    facts = sim.verify(wheel, attestations)
    with pytest.raises(AttributeError):
        facts.tier = "core"  # type: ignore[misc]
    with pytest.raises(TypeError):
        facts.snapshot.files["sample_plugin/__init__.py"] = b""  # type: ignore[index]
    with pytest.raises(AttributeError):
        facts.manifest.owner = Name("somebody")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("days", "what"), [(17, "the policy"), (29, "the policy"), (87, "the certification"), (187, "the manifest")]
)
def test_what_is_about_to_expire_is_warned_of(wheel: PluginWheel, days: int, what: str) -> None:
    sim = Simulator()
    later: datetime = NOW + timedelta(days=days)
    if days > 29:
        sim.policy("head_keys.0.not_after", "2028-01-01T00:00:00Z")
        sim.policy("valid_until", "2028-01-01T00:00:00Z")
    claims = sim.claims(wheel)
    if what == "the manifest":
        del claims["certification"]
    sim.publish_head(later)
    (warning,) = sim.verify(wheel, claims.sign(), later).warnings
    assert warning.startswith(f"{what} expires at ")


def test_grace_and_immaturity_are_warned_of(sim: Simulator, wheel: PluginWheel) -> None:
    claims = sim.claims(wheel)
    claims["manifest"].predicate["maturity"] = "alpha"
    claims.pin()
    warnings = sim.verify(wheel, claims.sign(), NOW + timedelta(hours=6)).warnings
    assert [warning.split(" ")[1] for warning in warnings] == ["revocation", "plugin's"]


def test_a_host_without_a_request_runs_in_process(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> None:
    facts = verify(wheel.data, wheel.file_name, attestations, sim.ground(), NOW)
    assert facts.tier == "core"
    claims = sim.claims(wheel)
    del claims["certification"]
    error = refusal(lambda: sim.verify(wheel, claims.sign(), request=Request()))
    assert error.code == "decision.isolation"


def test_verifying_opens_no_file_and_no_socket() -> None:
    script = (
        "import sys\n"
        "from tests.simulator import NOW, Simulator\n"
        "from verifier.judging.verify import verify\n"
        "sim = Simulator()\n"
        "wheel = sim.wheel()\n"
        "attestations, ground = sim.attest(wheel), sim.ground()\n"
        "verify(wheel.data, wheel.file_name, attestations, ground, NOW)\n"  # what is imported late is imported now
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event))\n"
        "verify(wheel.data, wheel.file_name, attestations, ground, NOW)\n"
        "doors = {'open', 'os', 'socket', 'subprocess', 'import'}\n"
        "touched = {event for event in seen if event.split('.')[0] in doors}\n"
        "assert not touched, touched\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
