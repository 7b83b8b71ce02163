"""What the holders of checkpoint keys refuse to sign, whatever the service lays out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crl_server.lists.countersigning import review
from crl_server.lists.dossier import Dossier
from crl_server.records.audit import Act
from crl_server.service import Authority
from crl_server.trust.repository import Repository
from tests.crl_server.deployments import DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.takebacks import (
    ALICE,
    BOB,
    add_rule,
    prepared,
    reinstate,
    root_of,
)
from verifier.errors import LoadlockError
from verifier.formats.revocations import dump_set_file, prefix_of, sha256_hex
from verifier.formats.text import Digest

pytestmark = pytest.mark.usefixtures("engine")


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    assert str(caught.value).replace("\n", "").isprintable()  # whatever the dossier says
    return caught.value.code


def edit_checkpoint(dossier: Dossier, **fields: Any) -> None:
    """A hostile service writes another checkpoint, with metadata that fits."""
    document = json.dumps(json.loads(dossier.checkpoint) | fields).encode()
    metadata = Repository(dossier.trust).unsigned_checkpoints(document, NOW)
    (dossier.directory / "checkpoint.json").write_bytes(document)
    dossier.write_metadata(metadata)


def other_base(dossier: Dossier, *labels: object, **fields: Any) -> None:
    data = dump_set_file(prefix_of(digest(label)) for label in labels)
    (dossier.directory / "public/lists/bases" / sha256_hex(data)).write_bytes(data)
    edit_checkpoint(dossier, root=sha256_hex(data), count=len(labels), **fields)


def other_rules(dossier: Dossier, *rules: dict[str, Any], **fields: Any) -> None:
    data = json.dumps({"v": 1, "rules": rules}).encode()
    (dossier.directory / "public/lists/rules" / sha256_hex(data)).write_bytes(data)
    edit_checkpoint(dossier, rules=sha256_hex(data), **fields)


RULE = {"id": "R1", "kind": "signer", "match": {"principal": "team-a"}, "reason": "key-compromise", "except": []}
HOSTILE: dict[str, tuple[Callable[[Dossier], object], str]] = {
    "an entry lost": (lambda d: other_base(d, 1, 2), "checkpoint.unfounded"),
    "an entry lost, named, not agreed on": (
        lambda d: other_base(d, 1, 2, removed=[digest(3).hex]),
        "checkpoint.unfounded",
    ),
    "an entry added": (lambda d: other_base(d, 1, 2, 3, 4), "checkpoint.unfounded"),
    "another count": (lambda d: edit_checkpoint(d, count=4), "checkpoint.unfounded"),
    "removed though it is in the base": (
        lambda d: edit_checkpoint(d, removed=[digest(3).hex]),
        "checkpoint.unfounded",
    ),
    "another epoch": (lambda d: edit_checkpoint(d, epoch=9), "checkpoint.unfounded"),
    "the same epoch": (lambda d: edit_checkpoint(d, epoch=1), "checkpoint.unfounded"),
    "another deployment": (lambda d: edit_checkpoint(d, deployment="globex"), "checkpoint.unfounded"),
    "beyond the published list": (lambda d: edit_checkpoint(d, through=99), "checkpoint.unfounded"),
    "a rule lost": (other_rules, "checkpoint.unfounded"),
    "a rule lost, named, not agreed on": (lambda d: other_rules(d, removed_rules=["R1"]), "checkpoint.unfounded"),
    "a rule changed": (lambda d: other_rules(d, RULE | {"reason": "mistake"}), "checkpoint.unfounded"),
    "a rule added": (lambda d: other_rules(d, RULE, RULE | {"id": "R2"}), "checkpoint.unfounded"),
    "an exception that nobody agreed on": (
        lambda d: other_rules(d, RULE | {"except": [digest(7)]}),
        "checkpoint.unfounded",
    ),
    "another audit state": (
        lambda d: edit_checkpoint(d, audit={"count": 2, "sha256": "0" * 64}),
        "audit.chain",
    ),
    "an entry of the log gone": (
        lambda d: (d.directory / "audit.jsonl").write_bytes(b"\n".join(d.log[:-1])),
        "audit.chain",
    ),
    "the log edited": (
        lambda d: (d.directory / "audit.jsonl").write_bytes(b"\n".join(d.log).replace(b"malicious", b"mistaken!")),
        "audit.chain",
    ),
    "metadata that names another file": (
        lambda d: (d.directory / "checkpoint.json").write_bytes(d.checkpoint + b" "),
        "trust.metadata",
    ),
    "metadata that is none": (lambda d: d.write_metadata(b"{}"), "trust.metadata"),
    "a damaged head": (
        lambda d: (d.directory / "public/lists/head.json").write_bytes(d.head.replace(b"Q", b"R", 1)),
        "list.signature",
    ),
}


@pytest.fixture(scope="module")
def laid_out(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, Path]]:
    folder = tmp_path_factory.mktemp("hostile")
    authority = made(folder / "acme")
    revoke(authority, 1, 2, 3)
    add_rule(authority)
    prepared(authority, folder / "c")
    yield authority, folder / "c"
    authority.close()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_signer_refuses_what_the_list_and_the_log_do_not_say(
    laid_out: tuple[Authority, Path], tmp_path: Path, case: str
) -> None:
    authority, original = laid_out
    review(Dossier(original), root_of(authority), NOW)
    shutil.copytree(original, tmp_path / "c")
    for path in (tmp_path / "c").rglob("*"):
        path.chmod(0o755)
    attack, code = HOSTILE[case]
    attack(Dossier(tmp_path / "c"))
    assert code_of(lambda: review(Dossier(tmp_path / "c"), root_of(authority), NOW)) == code


def test_nothing_leaves_the_list_with_a_rule_that_stays(authority: Authority, tmp_path: Path) -> None:
    """Two people agreed to end the rule; a hostile service keeps it, and takes back something else instead."""
    revoke(authority, 1, 2, 3)
    add_rule(authority)
    reinstate(authority, None, rule=1)
    dossier = prepared(authority, tmp_path / "c")
    other_base(dossier, 1, 2, removed=[digest(3).hex])
    assert f"{digest(3)}: with R1" in review(dossier, root_of(authority), NOW).digests  # the signer is told
    other_rules(dossier, RULE, removed_rules=[])
    assert code_of(lambda: review(dossier, root_of(authority), NOW)) == "checkpoint.unfounded"


def test_a_signer_refuses_another_deployment_and_an_old_list(laid_out: tuple[Authority, Path]) -> None:
    authority, original = laid_out
    assert code_of(lambda: review(Dossier(original), Digest(digest("root")), NOW)) == "checkpoint.unfounded"
    assert code_of(lambda: review(Dossier(original), root_of(authority), NOW + 40 * DAY)) == "checkpoint.unfounded"
    summary = review(Dossier(original), root_of(authority), NOW + 20 * DAY + HOUR)
    assert (summary.digests, summary.rules, summary.keys) == ((), (), ())
    assert summary.checkpoint.count == 3


def test_an_approval_by_the_requester_in_the_log_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    """Only a hostile service would have written it."""
    revoke(authority, 1)
    with authority.store.write() as ledger:
        ledger.record(Act(ALICE, "reinstatement.request", digest(1), {"id": 1, "note": "x"}), NOW)
        ledger.record(Act(ALICE, "reinstatement.approve", digest(1), {"id": 1, "by": BOB, "note": "x"}), NOW)
    dossier = prepared(authority, tmp_path / "c", NOW + timedelta(hours=13))
    now = NOW + timedelta(hours=13)
    assert code_of(lambda: review(dossier, root_of(authority), now)) == "checkpoint.unfounded"


@pytest.mark.parametrize("approver", ["oidc:corp:alice@acme.example", "oidc:corp:Alice@Acme.example"])
def test_one_person_under_two_spellings_is_no_second_person_for_signers(
    authority: Authority, tmp_path: Path, approver: str
) -> None:
    revoke(authority, 1)
    asked = Act("oidc:corp:alice@acme.example", "reinstatement.request", digest(1), {"id": 1, "note": "x"})
    with authority.store.write() as ledger:
        ledger.record(asked, NOW)
        ledger.record(Act(approver, "reinstatement.approve", digest(1), {"id": 1, "by": asked.actor}), NOW)
    now = NOW + timedelta(hours=13)
    dossier = prepared(authority, tmp_path / "c", now)
    assert code_of(lambda: review(dossier, root_of(authority), now)) == "checkpoint.unfounded"
