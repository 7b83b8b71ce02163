"""Which statements count, which are set aside, and what a refusal for a missing one says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulator import Claims, Simulator
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.statement import CERTIFICATION, MANIFEST, PROVENANCE, SBOM, TEST_RESULT, VULNERABILITIES
from verifier.formats.text import Digest, PluginId
from verifier.judging.evidence import Evidence, KeyRing, parse_attestations, payload_digest, verified_payload, weigh

SIM = Simulator()
WHEEL = SIM.wheel()
Edit = Callable[[Claims], None]


def weighed(edit: Edit = lambda claims: None, sim: Simulator = SIM, wheel: str = WHEEL.digest) -> Evidence:
    claims = sim.claims(WHEEL)
    edit(claims)
    policy = sim.trust().policy
    return weigh(
        parse_set(claims.sign()), KeyRing(policy, {}), policy.plugins[PluginId("sample_plugin")], Digest(wheel)
    )


def signed_by(title: str, person: str) -> Edit:
    def edit(claims: Claims) -> None:
        claims[title].signer = SIM.people[person]

    return edit


def drop(*titles: str) -> Edit:
    def edit(claims: Claims) -> None:
        for title in titles:
            del claims[title]

    return edit


def both(*edits: Edit) -> Edit:
    def edit(claims: Claims) -> None:
        for one in edits:
            one(claims)

    return edit


def forged(title: str, signature: bytes) -> Edit:
    def edit(claims: Claims) -> None:
        claims[title].signature = signature

    return edit


def missing(evidence: Evidence, kind: str) -> Refused:
    with pytest.raises(Refused) as caught:
        evidence.require(kind)
    return caught.value


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ("stranger", "signature.unknown-signer"),
        ("other-owner", "signature.wrong-signer"),
        ("builder", "signature.wrong-signer"),
        ("certifier", "signature.wrong-signer"),
    ],
)
def test_a_statement_by_somebody_else_is_set_aside_and_named_when_missed(person: str, code: str) -> None:
    evidence = weighed(signed_by("manifest", person))
    assert set(evidence.attested) == {SBOM, PROVENANCE, CERTIFICATION}
    (aside,) = evidence.set_aside
    assert aside.code == code
    error = missing(evidence, MANIFEST)
    assert (error.code, error.found) == (code, aside.reason)


def test_a_statement_that_is_nowhere_is_missing() -> None:
    evidence = weighed(drop("provenance", "certification"))
    assert missing(evidence, PROVENANCE).code == "set.statement-missing"
    assert missing(evidence, CERTIFICATION).code == "certification.missing"
    assert missing(evidence, PROVENANCE).found == "SBOM, plugin manifest"


@pytest.mark.parametrize(
    ("name", "kind", "command"),
    [
        ("manifest", MANIFEST, "endorse"),
        ("certification", CERTIFICATION, "certify"),
        ("manifest", VULNERABILITIES, "check vulnerabilities"),
        ("manifest", TEST_RESULT, "check release"),
    ],
)
def test_what_was_never_made_is_made_by_the_command_named(name: str, kind: str, command: str) -> None:
    assert f"'loadlock {command}'" in missing(weighed(drop(name)), kind).todo


def test_what_was_set_aside_in_another_place_explains_nothing() -> None:
    evidence = weighed(both(signed_by("manifest", "builder"), drop("provenance")))
    assert missing(evidence, PROVENANCE).code == "set.statement-missing"


def test_the_worst_reason_comes_first() -> None:
    sim = Simulator()
    sim.policy("principals.owner.status", "revoked")

    def edit(claims: Claims) -> None:
        for person in ("stranger", "other-owner", "owner"):
            claims[f"manifest of {person}"] = sim.claims(WHEEL)["manifest"]
            claims[f"manifest of {person}"].signer = sim.people[person]
        del claims["manifest"]

    evidence = weighed(edit, sim)
    assert len(evidence.set_aside) == 3
    assert missing(evidence, MANIFEST).code == "signature.key-revoked"


@pytest.mark.parametrize("status", ["retired", "revoked"])
@pytest.mark.parametrize("accepted", [[], [WHEEL.digest], ["sha256:" + "0" * 64]])
def test_the_status_of_a_key_decides_with_the_artifacts_accepted(status: str, accepted: list[str]) -> None:
    sim = Simulator()
    sim.policy("principals.builder.accepted", accepted)
    sim.policy("principals.builder.status", status)
    evidence = weighed(sim=sim)
    if status == "retired" and WHEEL.digest in accepted:
        assert SBOM in evidence.attested
    else:
        assert missing(evidence, SBOM).code == f"signature.key-{status}"
        assert missing(evidence, PROVENANCE).code == f"signature.key-{status}"


def former(sim: Simulator, status: str, accepted: list[str]) -> None:
    """The owner has a new key; the key of before has this status."""
    new = sim.people["stranger"].public
    sim.rules["keys"][new.id] = {"alg": new.alg, "spki": new.entry.spki}
    old = {"key": sim.people["owner"].public.id, "status": status, "accepted": accepted}
    sim.policy("principals.owner", {"mode": "key", "key": new.id, "former": [old]})


@pytest.mark.parametrize("accepted", [[], [WHEEL.digest], ["sha256:" + "0" * 64]])
@pytest.mark.parametrize("status", ["retired", "revoked"])
def test_a_former_key_counts_for_what_is_accepted_alone(status: str, accepted: list[str]) -> None:
    sim = Simulator()
    former(sim, status, accepted)
    evidence = weighed(sim=sim)
    if status == "retired" and WHEEL.digest in accepted:
        assert evidence.attested[MANIFEST].signer == "owner"
        assert evidence.attested[MANIFEST].made.key == sim.people["owner"].public.id
    else:
        assert missing(evidence, MANIFEST).code == f"signature.key-{status}"


def test_the_new_key_speaks_under_the_same_name() -> None:
    sim = Simulator()
    former(sim, "revoked", [])

    def edit(claims: Claims) -> None:
        claims["manifest"].signer = sim.people["stranger"]

    attested = weighed(edit, sim).attested[MANIFEST]
    assert (attested.signer, attested.made.key) == ("owner", sim.people["stranger"].public.id)


@pytest.mark.parametrize("accepted", [[], [WHEEL.digest], ["sha256:" + "0" * 64]])
def test_of_a_former_owner_the_accepted_manifests_count(accepted: list[str]) -> None:
    sim = Simulator()
    sim.rules["plugins"]["sample_plugin"]["owners"] = ["other-owner"]
    sim.policy("plugins.sample_plugin.former_owners", [{"owner": "owner", "accepted": accepted}])
    evidence = weighed(sim=sim)
    if WHEEL.digest in accepted:
        assert evidence.attested[MANIFEST].signer == "owner"
    else:
        assert missing(evidence, MANIFEST).code == "signature.wrong-signer"


def test_a_former_owner_is_nothing_else() -> None:
    sim = Simulator()
    sim.rules["plugins"]["sample_plugin"]["builders"] = []
    sim.policy("plugins.sample_plugin.former_owners", [{"owner": "builder", "accepted": [WHEEL.digest]}])
    assert missing(weighed(sim=sim), SBOM).code == "signature.wrong-signer"


def test_a_former_owner_with_a_revoked_key_counts_for_nothing() -> None:
    sim = Simulator()
    sim.rules["plugins"]["sample_plugin"]["owners"] = []
    sim.rules["principals"]["owner"]["status"] = "revoked"
    sim.policy("plugins.sample_plugin.former_owners", [{"owner": "owner", "accepted": [WHEEL.digest]}])
    assert missing(weighed(sim=sim), MANIFEST).code == "signature.key-revoked"


def test_a_foreign_key_is_not_asked_whether_its_signature_is_right() -> None:
    edit = both(signed_by("manifest", "stranger"), forged("manifest", b"nonsense"))
    assert missing(weighed(edit), MANIFEST).code == "signature.unknown-signer"


@pytest.mark.parametrize("title", ["manifest", "sbom", "provenance", "certification"])
@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 72, b"0\x06\x02\x01\x00\x02\x01\x00"])
def test_a_known_key_with_a_wrong_signature_refuses_the_whole_set(title: str, signature: bytes) -> None:
    with pytest.raises(Refused) as caught:
        weighed(forged(title, signature))
    assert caught.value.code == "signature.invalid"
    assert repr(SIM.claims(WHEEL)[title].signer.name) in caught.value.found


def test_a_statement_of_unknown_type_is_ignored_but_its_signature_is_not() -> None:
    def edit(claims: Claims) -> None:
        claims["sbom"].predicate_type = "https://host.example/notes/v1"

    evidence = weighed(edit)
    assert evidence.ignored == ("https://host.example/notes/v1",)
    assert SBOM not in evidence.attested
    with pytest.raises(Refused) as caught:
        weighed(both(edit, forged("sbom", b"nonsense")))
    assert caught.value.code == "signature.invalid"


def test_two_that_count_are_refused_and_one_that_does_not_is_no_second() -> None:
    def copy(person: str) -> Edit:
        def edit(claims: Claims) -> None:
            claims["again"] = SIM.claims(WHEEL)["certification"]
            claims["again"].signer = SIM.people[person]

        return edit

    assert weighed(copy("other-certifier")).attested[CERTIFICATION].signer == "certifier"
    with pytest.raises(Refused) as caught:
        weighed(copy("certifier"))
    assert caught.value.code == "set.duplicate"


def test_a_payload_is_given_out_only_with_its_signature_verified() -> None:
    claims = SIM.claims(WHEEL)
    (bundle, *_) = parse_set(claims.sign())
    assert verified_payload(bundle, SIM.people["owner"].public) == claims["manifest"].payload
    assert payload_digest(claims["manifest"].payload) == claims["manifest"].digest
    for person in ("builder", "other-owner", "stranger"):
        with pytest.raises(Refused) as caught:
            verified_payload(bundle, SIM.people[person].public)
        assert caught.value.code == "signature.invalid"


def test_a_ring_knows_the_keys_of_principals_alone() -> None:
    ring = KeyRing(SIM.trust().policy, {})
    known = ring.find(SIM.people["owner"].public.hint)
    assert known is not None
    assert (known[0], known[1].id) == ("owner", SIM.people["owner"].public.id)
    assert ring.find(SIM.people["stranger"].public.hint) is None
    assert ring.find("") is None
    assert ring.find(SIM.people["owner"].public.id) is None


def test_no_set_and_an_empty_one_are_told_apart() -> None:
    for data, code in ((None, "set.missing"), (b"", "set.count")):
        with pytest.raises(Refused) as caught:
            parse_attestations(data)
        assert caught.value.code == code
