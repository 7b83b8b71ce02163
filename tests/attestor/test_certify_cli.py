"""What the certifier is shown, what it is compared with, and what is not signed."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestor.checking.review import Keys
from attestor.commands.places import WheelFiles
from attestor.describing.precedent import open_precedent
from attestor.signing.signers import KeySigner
from tests.attestor import test_cli
from tests.attestor.conftest import EXAMPLE, Signers
from tests.attestor.releases import Shelf
from tests.attestor.test_cli import Recorder
from tests.registry import TOKEN, Registry, registry_with_token
from verifier.errors import LoadlockError
from verifier.formats.bundle import Bundle, dump_set, parse_set
from verifier.formats.statement import CERTIFICATION, MANIFEST, SBOM, parse_statement

HOST: dict[str, Any] = {
    "capabilities": [
        *json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())["capabilities"],
        {"name": "network", "rationale": "Sends reports to the archive."},
    ],
    "allowed_egress": [{"host": "archive.host.example", "schemes": ["https"], "ports": [443]}],
}
"""A declaration that talks to one host."""


@pytest.fixture
def shelf(tmp_path: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for variable in ("LOADLOCK_KEY", "LOADLOCK_DEPLOYMENT", "LOADLOCK_SERVER", "LOADLOCK_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return Shelf(tmp_path / "shelf", signers)


def words(shelf: Shelf, files: WheelFiles, *more: object, key: str = "certifier") -> list[object]:
    place = shelf.signers.place
    known = ("--builder-key", place / "builder.pem.pub", "--owner-key", place / "owner.pem.pub")
    terms = ("--tier", "core", "--expires", "2999-01-01", "--key", place / f"{key}.pem")
    return [files.wheel, *terms, *known, *more]


def certify(shelf: Shelf, files: WheelFiles, *more: object) -> Recorder:
    return test_cli.run("certify", *words(shelf, files, "--yes", *more))


def refused(shelf: Shelf, files: WheelFiles, *more: object, key: str = "certifier") -> LoadlockError:
    before = files.read_attestations()
    with pytest.raises(LoadlockError) as caught:
        test_cli.run("certify", *words(shelf, files, *more, key=key))
    assert files.read_attestations() == before
    return caught.value


def keys_of(signers: Signers) -> Keys:
    return {
        "builder": [signers.builder.public_key],
        "owner": [signers.owner.public_key],
        "certifier": [signers.certifier.public_key],
    }


# -- a precedent that is none ------------------------------------------------------------------------------------------


def signed(payload: bytes, signer: KeySigner) -> Bundle:
    return signer.sign(payload)


def kinds(attestations: bytes) -> dict[str, Bundle]:
    return {parse_statement(b.envelope.unverified_payload).predicate_type: b for b in parse_set(attestations)}


DAMAGE: dict[str, tuple[Callable[[dict[str, Bundle], Signers], None], str]] = {
    "no certification": (lambda found, _: found.__delitem__(CERTIFICATION), "certification.missing"),
    "no manifest": (lambda found, _: found.__delitem__(MANIFEST), "set.statement-missing"),
    "no SBOM": (lambda found, _: found.__delitem__(SBOM), "set.statement-missing"),
    "a manifest by nobody": (
        lambda found, by: found.update({MANIFEST: signed(found[MANIFEST].envelope.unverified_payload, by.stranger)}),
        "signature.unknown-signer",
    ),
    "a manifest by the builder": (
        lambda found, by: found.update({MANIFEST: signed(found[MANIFEST].envelope.unverified_payload, by.builder)}),
        "signature.wrong-signer",
    ),
    "another manifest than was certified": (
        lambda found, by: found.update(
            {
                MANIFEST: signed(
                    found[MANIFEST].envelope.unverified_payload.replace(b"confidential", b"secret"), by.owner
                )
            }
        ),
        "certification.covenant",
    ),
    "a manifest that pins another wheel": (
        lambda found, by: found.update({MANIFEST: signed(_pinning_another(found[MANIFEST]), by.owner)}),
        "subject.digest",
    ),
    "another SBOM than is pinned": (
        lambda found, by: found.update(
            {SBOM: signed(found[SBOM].envelope.unverified_payload.replace(b"library", b"framework"), by.builder)}
        ),
        "sbom.digest",
    ),
    "a verdict of FAILED": (
        lambda found, by: found.update(
            {
                CERTIFICATION: signed(
                    found[CERTIFICATION].envelope.unverified_payload.replace(b"PASSED", b"FAILED"), by.certifier
                )
            }
        ),
        "certification.failed",
    ),
    "an edited payload": (
        lambda found, _: found.update({MANIFEST: _edited(found[MANIFEST])}),
        "signature.invalid",
    ),
}


def _pinning_another(bundle: Bundle) -> bytes:
    field = b'"artifact_digest":"sha256:'
    before, _, after = bundle.envelope.unverified_payload.partition(field)
    return before + field + b"0" * 64 + after[64:]


def _edited(bundle: Bundle) -> Bundle:
    payload = bundle.envelope.unverified_payload.replace(b"confidential", b"secret")
    fields = {name: getattr(bundle.envelope, name) for name in bundle.envelope.__struct_fields__}
    return Bundle(hint=bundle.hint, envelope=type(bundle.envelope)(**fields | {"unverified_payload": payload}))


@pytest.mark.parametrize("case", DAMAGE)
def test_a_precedent_that_does_not_verify_is_refused(shelf: Shelf, case: str) -> None:
    damage, code = DAMAGE[case]
    before, now = shelf.certified("1.0.0"), shelf.endorsed("1.1.0")
    found = kinds(before.read_attestations() or b"")
    damage(found, shelf.signers)
    before.attestations.write_bytes(dump_set(tuple(found.values())))
    assert refused(shelf, now, "--yes", "--previous", before.attestations).code == code


def test_a_precedent_about_two_wheels_is_refused(shelf: Shelf) -> None:
    one, two = (kinds(shelf.certified(version).read_attestations() or b"") for version in ("1.0.0", "1.1.0"))
    mixed = dump_set(tuple({**one, SBOM: two[SBOM]}.values()))
    with pytest.raises(LoadlockError) as caught:
        open_precedent(mixed, keys_of(shelf.signers))
    assert caught.value.code == "subject.digest"


def test_a_precedent_of_another_wheel_or_plugin_is_refused(shelf: Shelf) -> None:
    before, now = shelf.certified("1.0.0"), shelf.endorsed("1.1.0")
    other = replace(shelf, place=shelf.place / "other").certified("1.0.0", name="tsv-exporter")
    assert refused(shelf, now, "--yes", "--previous", other.wheel).code == "manifest.plugin-id"
    before.wheel.write_bytes(other.wheel.read_bytes())
    assert refused(shelf, now, "--yes", "--previous", before.wheel).code == "subject.digest"


def test_a_precedent_that_is_not_there_is_refused(shelf: Shelf) -> None:
    now = shelf.endorsed("1.1.0")
    assert refused(shelf, now, "--yes", "--previous", shelf.place / "absent.jsonl").exit_status == 2
    assert refused(shelf, now, "--yes", "--previous", "a", "--server", "b").code == "usage.arguments"


def test_a_precedent_by_a_certifier_who_is_not_named_is_refused(shelf: Shelf) -> None:
    by_another = replace(shelf, signers=replace(shelf.signers, certifier=shelf.signers.stranger))
    before, now = by_another.certified("1.0.0"), shelf.endorsed("1.1.0")
    assert refused(shelf, now, "--yes", "--previous", before.wheel).code == "signature.unknown-signer"
    named = ("--certifier-key", shelf.signers.place / "stranger.pem.pub")
    assert certify(shelf, now, "--previous", before.wheel, *named).value["previous"]["version"] == "1.0.0"


# -- who may not -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["owner", "builder"])
def test_owner_and_builder_do_not_certify_their_own(shelf: Shelf, role: str) -> None:
    assert refused(shelf, shelf.endorsed("1.0.0"), "--yes", key=role).code == "roles.not-disjoint"


def test_where_nobody_can_be_asked_it_has_to_be_said(shelf: Shelf) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader) as nobody, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", nobody)
        error = refused(shelf, shelf.endorsed("1.0.0"))
    assert (error.code, error.exit_status) == ("usage.arguments", 2)


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y", True), ("Yes", True), ("n", False), ("", False), ("certainly", False)]
)
def test_a_person_at_the_terminal_is_asked(shelf: Shelf, answer: str, agreed: bool) -> None:
    files = shelf.endorsed("1.0.0")
    terminal, keyboard = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    with os.fdopen(keyboard) as stdin, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        if agreed:
            test_cli.run("certify", *words(shelf, files))
        else:
            assert refused(shelf, files).code == "certify.declined"
    os.close(terminal)
    assert (CERTIFICATION in kinds(files.read_attestations() or b"")) is agreed


# -- growth ------------------------------------------------------------------------------------------------------------


def test_without_a_precedent_growth_cannot_be_ruled_out(shelf: Shelf) -> None:
    assert refused(shelf, shelf.endorsed("1.0.0"), "--yes", "--refuse-growth").code == "certify.no-precedent"


def test_growth_is_refused_where_it_is_asked_for(shelf: Shelf) -> None:
    before, now = shelf.certified("1.0.0"), shelf.endorsed("1.1.0", **HOST)
    error = refused(shelf, now, "--yes", "--refuse-growth", "--previous", before.wheel)
    assert (error.code, error.exit_status) == ("certify.growth", 1)
    assert "https://archive.host.example:443" in error.found


def test_a_higher_tier_and_a_lost_condition_are_growth(shelf: Shelf) -> None:
    demand = ("--yes", "--refuse-growth", "--previous")
    low = replace(shelf, place=shelf.place.with_name("low")).certified("1.0.0", "vetted")
    assert refused(shelf, shelf.endorsed("1.1.0"), *demand, low.wheel).code == "certify.growth"
    bound = replace(shelf, place=shelf.place.with_name("bound")).certified("1.0.0", conditions=("never on Fridays",))
    assert refused(shelf, shelf.endorsed("1.1.0"), *demand, bound.wheel).code == "certify.growth"
    certify(shelf, shelf.endorsed("1.1.0"), *demand[1:], bound.wheel, "--condition", "never on Fridays")


def test_what_does_not_grow_passes(shelf: Shelf) -> None:
    before, now = shelf.certified("1.0.0", **HOST), shelf.endorsed("1.1.0")
    done = certify(shelf, now, "--refuse-growth", "--previous", before.attestations)
    assert {(change["field"], change["what"]) for change in done.value["changes"]} == {
        ("version", "changed"), ("capabilities", "gone"), ("allowed_egress", "gone"),
    }  # fmt: skip
    assert CERTIFICATION in kinds(now.read_attestations() or b"")


def test_a_person_sees_what_grew_and_may_certify_it(shelf: Shelf) -> None:
    before, now = shelf.certified("1.0.0"), shelf.endorsed("1.1.0", **HOST)
    done = certify(shelf, now, "--previous", before.wheel)
    compared = done.lines.index(next(line for line in done.lines if line.startswith("compared with 1.0.0")))
    assert done.lines[compared + 1].split()[:3] == ["high", "allowed_egress", "new"]
    assert [change["risk"] for change in done.value["changes"]] == ["high", "high", "low"]
    assert done.value["previous"]["digest"].startswith("sha256:")
    assert any("SBOM" in line and "sha256:" in line for line in done.lines[compared:])


def test_nothing_to_compare_with_is_said(shelf: Shelf) -> None:
    done = certify(shelf, shelf.endorsed("1.0.0"))
    assert any(line.startswith("compared with nothing") for line in done.lines)
    assert (done.value["previous"], done.value["changes"]) == (None, [])


def test_the_same_wheel_is_certified_again(shelf: Shelf) -> None:
    before = shelf.certified("1.0.0")
    done = certify(shelf, before, "--refuse-growth", "--previous", before.wheel)
    assert done.value["changes"] == []
    assert "  nothing differs" in done.lines


# -- the registry ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with registry_with_token(monkeypatch) as server:
        yield server


def lists(registry: Registry, *rows: dict[str, Any]) -> None:
    registry.says("/v1/plugins/csv_exporter", {"artifacts": rows})


def holds(registry: Registry, files: WheelFiles) -> str:
    """Keep a release's set; its digest."""
    data = files.read_attestations() or b""
    digest = parse_statement(parse_set(data)[0].envelope.unverified_payload).sha256
    registry.answers[f"/sets/{digest}.jsonl"] = 200, data
    return f"sha256:{digest}"


def row(digest: str, *, revoked: bool = False) -> dict[str, Any]:
    return {"digest": digest, "revoked": [{"reason": "malicious"}] if revoked else []}


def test_the_release_admitted_last_is_what_it_is_compared_with(shelf: Shelf, registry: Registry) -> None:
    older, last, bad = shelf.certified("1.0.0"), shelf.certified("1.1.0"), shelf.certified("1.2.0")
    now = shelf.endorsed("1.3.0")
    rows = [row(holds(registry, now)), row(holds(registry, bad), revoked=True), row(holds(registry, last))]
    lists(registry, *rows, row(holds(registry, older)))
    done = certify(shelf, now, "--server", registry.url, "--refuse-growth")
    assert done.value["previous"]["version"] == "1.1.0"
    assert registry.tokens == [f"Bearer {TOKEN}", ""]  # what is public is asked for without it


def test_a_registry_that_knows_no_earlier_release(shelf: Shelf, registry: Registry) -> None:
    now = shelf.endorsed("1.0.0")
    assert certify(shelf, now, "--server", registry.url).value["previous"] is None
    lists(registry, row(holds(registry, now)))
    assert refused(shelf, now, "--yes", "--server", registry.url, "--refuse-growth").code == "certify.no-precedent"


def test_a_registry_that_hands_out_something_else_is_not_believed(shelf: Shelf, registry: Registry) -> None:
    last, other, now = shelf.certified("1.0.0"), shelf.certified("1.1.0"), shelf.endorsed("1.2.0")
    digest = holds(registry, last)
    lists(registry, row(digest))
    path = f"/sets/{digest.removeprefix('sha256:')}.jsonl"
    registry.answers[path] = 200, other.read_attestations() or b""
    assert refused(shelf, now, "--yes", "--server", registry.url).code == "subject.digest"
    registry.answers[path] = 404, b""
    assert refused(shelf, now, "--yes", "--server", registry.url).code == "unreachable.server"
    lists(registry, {"digest": "../secret", "revoked": []})
    assert refused(shelf, now, "--yes", "--server", registry.url).code == "server.refused"
    registry.answers["/v1/plugins/csv_exporter"] = 403, b'{"code":"auth.role","what":"no"}'
    assert refused(shelf, now, "--yes", "--server", registry.url).code == "auth.role"
