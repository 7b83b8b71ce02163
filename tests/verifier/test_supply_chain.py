"""Layouts and links: everything that has to be refused, each by its code; then what is accepted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from in_toto.models._signer import load_public_key_from_file  # type: ignore[import-untyped]

from attestor.signing.signers import public_pem
from loadlock.testing.people import Person
from tests.verifier.chains import DIGEST, ELSEWHERE, MADE, WHEEL, Chain, envelope, lines
from verifier.errors import FormatError, LoadlockError, Refused
from verifier.formats.layout import MAX_ARTIFACTS, link_name, parse_layout
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest
from verifier.judging.supply_chain import MAX_CHAIN, MAX_LINKS, Expected, Fulfilled, join_chain, verify_chain
from verifier.signatures.layout_keys import keys_of, layout_key

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def verify(chain: Chain, data: bytes | None = None, *, payload: str = "", now: datetime = NOW) -> Fulfilled:
    """Judge a chain as its owner's key and, where given, the pinned digest say."""
    expected = Expected([chain.owner.public], Digest(payload) if payload else None)
    return verify_chain(chain.signed() if data is None else data, expected, WHEEL, Digest(DIGEST), now)


def code_of(chain: Chain, data: bytes | None = None, **options: Any) -> str:
    """The code that a chain is refused with."""
    with pytest.raises(LoadlockError) as caught:
        verify(chain, data, **options)
    assert isinstance(caught.value, (FormatError, Refused))
    return caught.value.code


# -- the layout --------------------------------------------------------------------------------------------------------


def test_a_layout_by_somebody_else() -> None:
    chain = Chain()
    first, *rest = chain.envelopes()
    for other in (
        envelope(chain.payload, chain.ci),
        envelope(chain.payload, chain.ci, keyid=first["signatures"][0]["keyid"]),
    ):
        assert code_of(chain, lines([other, *rest])) == "signature.unknown-signer"


def test_without_a_key_of_the_owner_nothing_is_signed_by_the_owner() -> None:
    with pytest.raises(Refused) as caught:
        verify_chain(Chain().signed(), Expected([]), WHEEL, Digest(DIGEST), NOW)
    assert caught.value.code == "signature.unknown-signer"


def test_another_layout_of_the_owners() -> None:
    assert code_of(Chain(), payload=f"sha256:{ELSEWHERE}") == "layout.other"


def test_a_layout_changed_after_signing() -> None:
    chain = Chain()
    first, *rest = chain.envelopes()
    chain.layout["readme"] = "changed"
    first["payload"] = envelope(chain.payload, chain.owner)["payload"]
    assert code_of(chain, lines([first, *rest])) == "signature.unknown-signer"


def test_a_layout_that_has_expired() -> None:
    chain = Chain()
    at = datetime(2099, 1, 1, tzinfo=UTC)
    assert verify(chain, now=at - timedelta(seconds=1)).links == 3
    assert code_of(chain, now=at) == "layout.expired"


def test_a_layout_that_has_expired_by_the_machines_clock_alone() -> None:
    chain = Chain()
    chain.layout["expires"] = "2020-01-01T00:00:00Z"
    assert code_of(chain, now=datetime(2019, 1, 1, tzinfo=UTC)) == "layout.expired"


@pytest.mark.parametrize("kind", ["https://in-toto.io/Statement/v1", "link", "Layout", None, 7])
def test_a_document_of_another_kind_in_the_layouts_place(kind: object) -> None:
    chain = Chain()
    chain.layout["_type"] = kind
    assert code_of(chain) == "format.unsupported"


@pytest.mark.parametrize("payload", [b"[]", b'"layout"', b"{}", b"null", b"7"])
def test_a_payload_that_is_no_layout(payload: bytes) -> None:
    chain = Chain()
    assert code_of(chain, lines([envelope(payload, chain.owner)])) == "format.unsupported"


def test_a_layout_with_an_inspection_runs_nothing(tmp_path: Path) -> None:
    chain = Chain()
    ran = tmp_path / "ran"
    rules: dict[str, Any] = {"expected_materials": [], "expected_products": []}
    chain.layout["inspect"] = [{"_type": "inspection", "name": "look", "run": ["touch", str(ran)], **rules}]
    assert code_of(chain) == "format.unsupported"
    assert not ran.exists()


def key_twice(chain: Chain) -> None:
    again = json.loads(json.dumps(chain.layout["keys"][chain.one.public.id.hex])) | {"keyid": ELSEWHERE}
    chain.layout["keys"][ELSEWHERE] = again


def other_kind(chain: Chain) -> None:
    chain.layout["keys"][chain.ci.public.id.hex]["scheme"] = "ed25519"


def short_key(chain: Chain) -> None:
    chain.layout["keys"][chain.one.public.id.hex]["keyval"]["public"] = "00"


@pytest.mark.parametrize("change", [key_twice, other_kind, short_key])
def test_keys_that_cannot_be_judged(change: Callable[[Chain], None]) -> None:
    chain = Chain()
    change(chain)
    assert code_of(chain) == "layout.unusable"


STEP_CHANGES: dict[str, Any] = {
    "a threshold of nobody": {"threshold": 0},
    "a negative threshold": {"threshold": -1},
    "a threshold that is no number": {"threshold": True},
    "more than there are": {"threshold": 4},
    "nobody may": {"pubkeys": [], "threshold": 1},
    "an unknown key": {"pubkeys": [ELSEWHERE], "threshold": 1},
    "rules that let the rest pass": {"expected_products": [["ALLOW", "dist/*"]]},
    "no rules for products": {"expected_products": []},
    "no rules for materials": {"expected_materials": []},
    "a rule that forbids less": {"expected_products": [["DISALLOW", "dist/*"]]},
    "a path as a name": {"name": "../check"},
    "an unknown field": {"subkeys": {}},
}


@pytest.mark.parametrize("change", STEP_CHANGES)
def test_a_step_that_asks_for_too_little(change: str) -> None:
    chain = Chain()
    chain.layout["steps"][1] |= STEP_CHANGES[change]
    assert code_of(chain) == "format.schema"


def test_one_person_named_twice_is_one() -> None:
    chain = Chain()
    chain.layout["steps"][1]["pubkeys"] = [chain.one.public.id.hex] * 2
    assert code_of(chain) == "format.schema"


def test_two_steps_of_one_name_and_keys_under_other_names() -> None:
    chain = Chain()
    chain.layout["steps"].append(chain.layout["steps"][0])
    assert code_of(chain) == "format.schema"
    chain = Chain()
    chain.layout["keys"][ELSEWHERE] = chain.layout["keys"].pop(chain.ci.public.id.hex)
    assert code_of(chain) == "format.schema"
    chain.layout["steps"][0]["pubkeys"] = [ELSEWHERE]
    assert code_of(chain) == "format.schema"


def test_keys_whose_links_would_have_one_file_name() -> None:
    chain = Chain()
    first, second = ("0" * 8 + digit * 56 for digit in "12")
    for person, keyid in ((chain.one, first), (chain.two, second)):
        chain.layout["keys"][keyid] = json.loads(json.dumps(chain.layout["keys"].pop(person.public.id.hex))) | {
            "keyid": keyid
        }
    chain.layout["steps"][1] |= {"pubkeys": [first, second]}
    assert code_of(chain) == "format.schema"


@pytest.mark.parametrize(
    "rule", [["ALLOW"], ["NOTHING", "x"], ["MATCH", "*", "WITH", "PRODUCTS"], ["MATCH", "a", "b", "c"]]
)
def test_rules_that_in_toto_does_not_know(rule: list[str]) -> None:
    chain = Chain()
    chain.layout["steps"][0]["expected_products"].insert(0, rule)
    assert code_of(chain) in ("layout.unusable", "format.schema")


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_step_that_nobody_took() -> None:
    chain = Chain()
    del chain.links[0]
    assert code_of(chain) == "layout.threshold"


def test_a_step_that_too_few_took() -> None:
    chain = Chain()
    del chain.links[2]
    assert code_of(chain) == "layout.threshold"


def test_no_links_at_all() -> None:
    chain = Chain()
    chain.links.clear()
    assert code_of(chain) == "layout.threshold"


def test_one_who_takes_a_step_twice_is_one() -> None:
    chain = Chain()
    chain.links[2] = chain.links[1]
    assert code_of(chain) == "layout.link"


def test_a_link_by_a_stranger_and_one_of_the_owners() -> None:
    for person in (Person("stranger"), Chain().owner):
        chain = Chain()
        chain.links.append((person, chain.link("check", MADE, MADE)))
        assert code_of(chain) == "signature.unknown-signer"


def test_a_link_by_somebody_of_another_step() -> None:
    chain = Chain()
    chain.links[2] = (chain.ci, chain.links[2][1])
    assert code_of(chain) == "signature.wrong-signer"


def test_a_stranger_under_a_colleagues_name() -> None:
    chain = Chain()
    *rest, _ = chain.envelopes()
    payload = json.dumps(chain.links[2][1]).encode()
    forged = envelope(payload, Person("stranger", "ed25519"), keyid=chain.two.public.id.hex)
    assert code_of(chain, lines([*rest, forged])) == "signature.invalid"


def test_a_link_changed_after_signing() -> None:
    chain = Chain()
    *rest, last = chain.envelopes()
    changed = json.dumps(chain.links[2][1] | {"command": ["true"]}).encode()
    last["payload"] = envelope(changed, chain.two)["payload"]
    assert code_of(chain, lines([*rest, last])) == "signature.invalid"


def test_a_link_with_two_signatures_or_none() -> None:
    chain = Chain()
    *rest, _ = chain.envelopes()
    payload = json.dumps(chain.links[2][1]).encode()
    assert code_of(chain, lines([*rest, envelope(payload, chain.two, chain.three)])) == "layout.link"
    assert code_of(chain, lines([*rest, envelope(payload)])) == "format.schema"


def test_a_link_of_one_step_in_the_place_of_another() -> None:
    # in-toto finds links by their file names alone, and does not look at the name inside.
    chain = Chain()
    chain.layout["steps"].append(chain.step("scan", [chain.one, chain.two], 1, materials=[["ALLOW", "*"]]))
    assert code_of(chain) == "layout.threshold"


def test_a_link_of_a_step_that_the_layout_does_not_have() -> None:
    chain = Chain()
    chain.links.append((chain.ci, chain.link("deploy", {}, {})))
    assert code_of(chain) == "layout.link"


def test_a_layout_in_the_place_of_a_link() -> None:
    chain = Chain()
    chain.links[0] = (chain.ci, chain.layout)
    assert code_of(chain) == "format.unsupported"


@pytest.mark.parametrize("value", [1, -9, "0", None, True, 0.0])
def test_a_step_that_failed(value: object) -> None:
    chain = Chain()
    chain.links[0][1]["byproducts"]["return-value"] = value
    assert code_of(chain) == "layout.link"


@pytest.mark.parametrize("command", [[], ["make"], ["make", "wheel", "--fast"], ["make", "Wheel"]])
def test_another_command_than_expected_is_refused_where_in_toto_only_warns(command: list[str]) -> None:
    chain = Chain()
    chain.links[0][1]["command"] = command
    assert code_of(chain) == "layout.command"


def test_links_of_a_step_that_contradict_each_other() -> None:
    chain = Chain()
    chain.links[2][1]["products"] = {**MADE, "dist/notes.txt": {"sha256": "02" * 32}}
    assert code_of(chain) == "layout.link"


def test_links_that_contradict_each_other_beyond_the_threshold() -> None:
    # in-toto takes the first and never looks at the second.
    chain = Chain()
    chain.layout["steps"][1]["threshold"] = 1
    chain.links[2][1]["materials"] = {}
    assert code_of(chain) == "layout.link"


@pytest.mark.parametrize(
    "digest", [{"sha256": "zz"}, {"sha1": "ab" * 20}, {}, {"sha256": "ab" * 32, "sha1": "ab" * 20}, "x"]
)
def test_a_file_without_one_sha256(digest: object) -> None:
    chain = Chain()
    chain.links[0][1]["products"]["dist/more"] = digest
    assert code_of(chain) == "format.schema"


# -- rules -------------------------------------------------------------------------------------------------------------


def changed_between(chain: Chain) -> None:
    for number in (1, 2):
        chain.links[number][1]["materials"] = {**MADE, "dist/notes.txt": {"sha256": "02" * 32}}


def extra_product(chain: Chain) -> None:
    chain.links[0][1]["products"]["elsewhere/x"] = {"sha256": "02" * 32}


def material_from_nowhere(chain: Chain) -> None:
    chain.links[0][1]["materials"]["dist/old.txt"] = {"sha256": "02" * 32}


def required_and_missing(chain: Chain) -> None:
    chain.layout["steps"][0]["expected_products"].insert(0, ["REQUIRE", "dist/sbom.json"])


@pytest.mark.parametrize("change", [changed_between, extra_product, material_from_nowhere, required_and_missing])
def test_files_that_the_rules_do_not_allow(change: Callable[[Chain], None]) -> None:
    chain = Chain()
    change(chain)
    assert code_of(chain) == "layout.rules"


def test_links_of_another_wheel_of_the_same_name() -> None:
    chain = Chain()
    made = {**MADE, f"dist/{WHEEL}": {"sha256": ELSEWHERE}}
    chain.links[0][1]["products"] = made
    for number in (1, 2):
        chain.links[number][1].update(materials=made, products=made)
    assert code_of(chain) == "layout.subject"


def test_one_step_about_another_wheel_of_the_same_name() -> None:
    chain = Chain()
    chain.layout["steps"][0]["expected_materials"].insert(0, ["ALLOW", "*"])
    chain.links[0][1]["materials"][f"old/{WHEEL}"] = {"sha256": ELSEWHERE}
    assert code_of(chain) == "layout.subject"


def test_a_chain_that_does_not_end_in_the_wheel() -> None:
    chain = Chain()
    for number in (1, 2):
        chain.links[number][1]["products"] = {}
    assert code_of(chain) == "layout.subject"


# -- documents ---------------------------------------------------------------------------------------------------------


def test_documents_that_are_no_chain() -> None:
    chain = Chain()
    whole = chain.signed()
    for data in (b"", b"\n", whole[:-1], whole + b"\n", b"{}\n", b"\xff\n", b"[" * 100_000 + b"\n"):
        assert code_of(chain, data).startswith("format."), data[:20]


def test_an_envelope_of_another_payload_type() -> None:
    chain = Chain()
    first, *rest = chain.envelopes()
    other = "application/vnd.loadlock.policy+json"
    for number in range(len(rest) + 1):
        every = [first, *rest]
        every[number] = envelope(b"{}", chain.owner, kind=other)
        assert code_of(chain, lines(every)) == "signature.payload-type"


def test_what_is_too_large() -> None:
    chain = Chain()
    assert code_of(chain, b"x" * (MAX_CHAIN + 1)) == "format.too-large"
    assert code_of(chain, lines(chain.envelopes()[:1] * (MAX_LINKS + 2))) == "format.too-large"
    chain.links[0][1]["products"] = {f"dist/{n}": {"sha256": "00" * 32} for n in range(MAX_ARTIFACTS + 1)}
    assert code_of(chain) == "format.schema"


def test_a_key_named_twice_in_a_link() -> None:
    chain = Chain()
    *rest, _ = chain.envelopes()
    payload = json.dumps(chain.links[2][1]).replace('"name"', '"name": "build", "name"').encode()
    assert code_of(chain, lines([*rest, envelope(payload, chain.two)])) == "format.duplicate-key"


# -- what is accepted --------------------------------------------------------------------------------------------------


def test_a_wheel_made_as_laid_out() -> None:
    chain = Chain()
    done = verify(chain)
    assert (done.steps, done.links) == (("build", "check"), 3)
    assert verify(chain, payload=done.payload) == done


def test_a_third_who_agrees_is_welcome() -> None:
    chain = Chain()
    chain.links.append((chain.three, chain.links[1][1]))
    assert verify(chain).links == 4


def test_no_command_expected_is_any_command() -> None:
    chain = Chain()
    chain.links[1][1]["command"] = ["look", "at", "it"]
    assert verify(chain).links == 3


def test_one_signature_of_the_owners_among_others() -> None:
    chain = Chain()
    _, *rest = chain.envelopes()
    assert verify(chain, lines([envelope(chain.payload, chain.ci, chain.owner), *rest])).links == 3


def test_nothing_is_left_behind_and_nothing_read_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    missing = chain.links.pop()
    (tmp_path / link_name("check", missing[0].public.id.hex)).write_text(
        json.dumps(envelope(json.dumps(missing[1]).encode(), missing[0]))
    )
    assert code_of(chain) == "layout.threshold"
    chain.links.append(missing)
    verify(chain)
    assert [path.name for path in tmp_path.iterdir()] == [link_name("check", missing[0].public.id.hex)]


def test_several_at_a_time() -> None:
    chains, found = [Chain() for _ in range(4)], []
    for chain in chains[::2]:
        extra_product(chain)

    def judge(chain: Chain) -> None:
        try:
            verify(chain)
            found.append("")
        except Refused as refusal:
            found.append(refusal.code)

    threads = [threading.Thread(target=judge, args=(chain,)) for chain in chains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["", "", "layout.rules", "layout.rules"]


def test_in_totos_own_command_agrees(tmp_path: Path) -> None:
    chain = Chain()
    first, *links = chain.envelopes()
    for (person, link), signed in zip(chain.links, links, strict=True):
        (tmp_path / link_name(link["name"], person.public.id.hex)).write_text(json.dumps(signed))
    (tmp_path / "owner.pem").write_bytes(public_pem(chain.owner.public))
    program = str(Path(sys.executable).parent / "in-toto-verify")
    words = [program, "--layout", "root.layout", "--verification-keys", "owner.pem"]
    # Its tools give a key another id than ours, and look for signatures by id.
    theirs = load_public_key_from_file(str(tmp_path / "owner.pem"))["keyid"]
    first["signatures"][0]["keyid"] = theirs
    (tmp_path / "root.layout").write_text(json.dumps(first))
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / link_name("build", chain.ci.public.id.hex)).unlink()
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode != 0


def test_a_layout_by_in_totos_own_tools_with_their_key_ids(tmp_path: Path) -> None:
    chain = Chain()
    ids = {}
    for person in chain.workers:
        (tmp_path / "key.pem").write_bytes(public_pem(person.public))
        theirs = load_public_key_from_file(str(tmp_path / "key.pem"))
        assert theirs["keyid"] != person.public.id.hex
        ids[person.public.id.hex] = theirs["keyid"]
        del chain.layout["keys"][person.public.id.hex]
        chain.layout["keys"][theirs["keyid"]] = theirs
    for step in chain.layout["steps"]:
        step["pubkeys"] = [ids[keyid] for keyid in step["pubkeys"]]
    first, *_ = chain.envelopes()
    links = [
        envelope(json.dumps(link).encode(), person, keyid=ids[person.public.id.hex]) for person, link in chain.links
    ]
    assert verify(chain, lines([first, *links])).links == 3


def test_joining_gives_what_is_judged() -> None:
    chain = Chain()
    first, *rest = (json.dumps(each, indent=1).encode() for each in chain.envelopes())
    assert verify(chain, join_chain(first, rest)).links == 3


@pytest.mark.parametrize("alg", ["ecdsa-p256", "ed25519"])
def test_a_key_survives_the_way_into_a_layout_and_back(alg: Any) -> None:
    person, chain = Person("x", alg), Chain()
    chain.layout["keys"] = {person.public.id.hex: plain(layout_key(person.public))}
    chain.layout["steps"] = [chain.step("build", [person], 1)]
    keys = keys_of(parse_layout(chain.payload))
    assert {keyid: public.id for keyid, public in keys.items()} == {person.public.id.hex: person.public.id}


def test_the_verifier_loads_in_toto_only_to_judge() -> None:
    modules = "verifier.judging.supply_chain, verifier.judging.verify, crl_server.plugins.admission"
    code = f"import {modules}, sys; print('in_toto' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"
