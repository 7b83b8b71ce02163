"""The policy as people write it, and its signing: what is wrong is not signed, and nothing has changed then."""

from __future__ import annotations

import shutil
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from crl_server.service import Authority
from crl_server.trust import policies
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, DAY, NOW, revoke
from tests.hosts import code_of
from verifier.errors import LoadlockError
from verifier.formats.policy import Policy
from verifier.formats.strict_json import plain
from verifier.formats.text import Name, PluginId, Time, Version

pytestmark = pytest.mark.usefixtures("engine")

HEAD = SigningKey.generate().public
TEXT = policies.first_policy(Name("acme"), "production", Version("1.0"), HEAD, Time.of(NOW + DAY))


def to_sign(text: str) -> Policy:
    return policies.to_sign(text, Name("acme"), 7, NOW)


def top(line: str) -> str:
    """The policy with one more line at its top level."""
    return TEXT.replace('valid_for = "P30D"', f'valid_for = "P30D"\n{line}')


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "format.schema"),
        ("profile =", "format.syntax"),
        (TEXT + TEXT, "format.syntax"),
        ("a = " + "[" * 5000, "format.syntax"),
        ("# " + "x" * (4 * 1024 * 1024), "format.too-large"),
        (top("v = 1"), "format.schema"),
        (top('deployment = "other"'), "format.schema"),
        (top("version = 99"), "format.schema"),
        (top('valid_until = "2036-01-01T00:00:00Z"'), "format.schema"),
        (top("surprise = true"), "format.schema"),
        (TEXT.replace('"P30D"', '"P31D"'), "format.schema"),
        (TEXT.replace('"P30D"', '"PT0S"'), "format.schema"),
        (TEXT.replace('"P30D"', "30"), "format.schema"),
        (TEXT.replace('"P30D"', '"a month"'), "format.schema"),
        (TEXT.replace(f'"{Time.of(NOW + DAY)}"', "2026-02-01T12:00:00Z"), "format.schema"),  # a TOML date, not text
        (TEXT.replace('"production"', '"migration"'), "trust.policy"),
        (TEXT.replace(f'[keys."{HEAD.id}"]', '[keys."sha256:00"]'), "format.schema"),
        (TEXT.replace(f'[keys."{HEAD.id}"]', f'[keys."sha256:{"0" * 64}"]'), "trust.policy"),
        (TEXT + '[plugins."a"]\nowners = ["nobody"]\n', "trust.policy"),
        (TEXT + '[principals."a"]\nmode = "keyless"\n', "trust.policy"),
        (TEXT + f'[principals."a"]\nmode = "key"\nkey = "{HEAD.id}"\n', "trust.policy"),
    ],
)
def test_a_text_that_is_no_policy_is_refused(text: str, code: str) -> None:
    assert code_of(lambda: to_sign(text)) == code


def test_what_is_there_already_is_not_added_again() -> None:
    key = SigningKey.generate().public
    text = policies.with_principal(TEXT, Name("ann"), key, None)
    assert code_of(lambda: policies.with_principal(text, Name("ann"), key, None)) == "usage.exists"
    text = policies.with_plugin(text, PluginId("a_b"), [], [Name("ann")], [], None)
    assert code_of(lambda: policies.with_plugin(text, PluginId("a_b"), [], [], [], None)) == "usage.exists"


def test_a_policy_under_which_the_server_could_not_sign_is_refused(authority: Authority) -> None:
    office = authority.office()
    other = SigningKey.generate().public
    head = authority.standing(NOW).trust.policy.head_keys[0]
    for text in (
        office.text().replace(f'key = "{head.key}"', f'key = "{other.id}"', 1)
        + f'[keys."{other.id}"]\nalg = "ed25519"\nspki = "{other.entry.spki}"\n',
        office.text().replace(head.not_after, Time.of(NOW)),
    ):
        assert code_of(partial(office.sign_policy, text, ACTOR, NOW)) == "trust.policy"


@pytest.mark.parametrize(
    ("missing", "code"), [("offline/targets.pem", "io.failed"), ("online/timestamp.pem", "usage.key")]
)
def test_without_its_key_a_policy_is_not_signed(authority: Authority, missing: str, code: str) -> None:
    (authority.layout.root / missing).unlink()
    assert code_of(lambda: authority.office().sign_policy(authority.office().text(), ACTOR, NOW)) == code


def test_a_policy_signed_with_another_key_changes_nothing(authority: Authority) -> None:
    shutil.copy(authority.layout.offline / "root-1.pem", authority.layout.offline / "targets.pem")
    log = authority.verify_audit(NOW)
    changed = authority.office().text() + "# changed\n"
    assert code_of(lambda: authority.office().sign_policy(changed, ACTOR, NOW)) == "usage.key"
    assert authority.standing(NOW).trust.policy.version == 1
    assert "# changed" not in authority.office().text()
    assert authority.verify_audit(NOW) == log


def test_a_signed_policy_is_in_force_at_once(authority: Authority) -> None:
    office = authority.office()
    revoke(authority, 1)
    key = SigningKey.generate("ecdsa-p256").public
    text = policies.with_principal("# ours\n" + office.text(), Name("ann.x-1"), key, "vetted")
    text = policies.with_plugin(
        text, PluginId("a_b"), [Name("builder")], [Name("owner")], [Name("ann.x-1")], Version("1.4")
    )
    signed = office.sign_policy(text, ACTOR, NOW + DAY)
    standing = authority.standing(NOW + DAY)
    policy = standing.trust.policy
    assert signed.policy == policy
    assert (policy.version, policy.valid_until) == (2, Time.of(NOW + 31 * DAY))
    assert policy.certifiers["ann.x-1"].max_tier == "vetted"  # type: ignore[index]
    assert policy.plugins["a_b"].min_version == "1.4"  # type: ignore[index]
    assert policy.keys[key.id].alg == "ecdsa-p256"
    assert office.text() == text
    # Hosts that have heard of the list know that there is newer trust.
    assert standing.revocations.head.trust.targets == 2


def test_the_enrolment_floor_rises_with_the_policy_where_the_root_keys_are(authority: Authority) -> None:
    office, bundle = authority.office(), authority.layout.enrolment
    first = bundle.read_bytes()
    assert office.sign_policy(office.text(), ACTOR, NOW).enrolment
    second = bundle.read_bytes()
    assert second != first
    (authority.layout.offline / "root-2.pem").unlink()
    assert not office.sign_policy(office.text(), ACTOR, NOW).enrolment
    assert bundle.read_bytes() == second


def test_offline_keys_may_lie_elsewhere(authority: Authority, tmp_path: Path) -> None:
    shutil.move(authority.layout.offline, tmp_path / "medium")
    office = authority.office(tmp_path / "medium")
    assert office.sign_policy(office.text(), ACTOR, NOW).policy.version == 2
    assert code_of(lambda: authority.office().sign_policy(office.text(), ACTOR, NOW)) == "io.failed"


def encrypt(path: Path, passphrase: str) -> None:
    """Put a passphrase on a key file, as its keeper does with a tool of their own."""
    key = SigningKey.read(path)
    path.unlink()
    key.write(path, passphrase)


def test_an_encrypted_offline_key_needs_its_passphrase(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    monkeypatch.delenv("LOADLOCK_KEY_PASSPHRASE", raising=False)
    office = authority.office()
    encrypt(authority.layout.offline / "targets.pem", "correct horse")
    assert code_of(lambda: office.sign_policy(office.text(), ACTOR, NOW)) == "usage.key"
    monkeypatch.setenv("LOADLOCK_KEY_PASSPHRASE", "wrong")
    assert code_of(lambda: office.sign_policy(office.text(), ACTOR, NOW)) == "usage.key"
    assert authority.standing(NOW).trust.policy.version == 1
    monkeypatch.setenv("LOADLOCK_KEY_PASSPHRASE", "correct horse")
    # The root keys beside it are not encrypted, and neither are the online ones.
    assert office.sign_policy(office.text(), ACTOR, NOW).enrolment


# -- another head key, however the table is laid out -------------------------------------------------------------------

END = Time.of(NOW + 400 * DAY)
STANDARD = f'[[head_keys]]\nkey = "{HEAD.id}"\nnot_after = "{Time.of(NOW + DAY)}"\n'
LAYOUTS = {
    "as init writes it": STANDARD,
    "the other way round": f'[[head_keys]]\nnot_after = "{Time.of(NOW + DAY)}"\nkey = "{HEAD.id}"\n',
    "with comments": f"[[head_keys]]  # ours\nkey = '{HEAD.id}'  # made in May\n\nnot_after='{Time.of(NOW + DAY)}'\n",
    "indented": f'  [[ head_keys ]]\n  key   =   "{HEAD.id}"\n  not_after = "{Time.of(NOW + DAY)}"\n',
    "beside another": STANDARD.replace(HEAD.id, "sha256:" + "1" * 64) + STANDARD,
    "before another": STANDARD + STANDARD.replace(HEAD.id, "sha256:" + "1" * 64),
    "with its key in a comment": f"# {HEAD.id} signs now\n" + STANDARD,
    "quoted names": f'[["head_keys"]]\n"key" = "{HEAD.id}"\nnot_after = "{Time.of(NOW + DAY)}"\n',
}
INLINE = f'head_keys = [{{ key = "{HEAD.id}", not_after = "{Time.of(NOW + DAY)}" }}]\n'


def laid_out(layout: str) -> str:
    assert STANDARD in TEXT
    return INLINE + TEXT.replace(STANDARD, "") if layout == "inline" else TEXT.replace(STANDARD, LAYOUTS[layout])


@pytest.mark.parametrize("layout", [*LAYOUTS, "inline"])
def test_the_head_key_is_replaced_however_its_table_is_laid_out(layout: str) -> None:
    before, new = laid_out(layout), SigningKey.generate().public
    after = policies.with_head_key(before, HEAD.id, new, END)
    was, found = tomllib.loads(before), tomllib.loads(after)
    old = [head["key"] for head in was["head_keys"]]
    assert [head["key"] for head in found["head_keys"]] == [new.id if key == HEAD.id else key for key in old]
    (head,) = (head for head in found["head_keys"] if head["key"] == new.id)
    assert head == {"key": new.id, "not_after": END}
    assert found["keys"] == was.get("keys", {}) | {new.id: plain(new.entry)}
    assert {k: v for k, v in found.items() if k not in ("head_keys", "keys")} == {
        k: v for k, v in was.items() if k not in ("head_keys", "keys")
    }
    comments = [line for line in before.splitlines() if line.startswith("#") and HEAD.id not in line]
    assert [line for line in after.splitlines() if line in comments] == comments


UNEDITED = {
    "none": "",
    "another key's": STANDARD.replace(HEAD.id, "sha256:" + "1" * 64),
    "without an end": f'[[head_keys]]\nkey = "{HEAD.id}"\n',
    "long strings": f'[[head_keys]]\nkey = """{HEAD.id}"""\nnot_after = """{Time.of(NOW + DAY)}"""\n',
    "a date": f'[[head_keys]]\nkey = "{HEAD.id}"\nnot_after = {Time.of(NOW + DAY)}\n',
    "no list": f'[head_keys]\nkey = "{HEAD.id}"\nnot_after = "{Time.of(NOW + DAY)}"\n',
}


@pytest.mark.parametrize("table", UNEDITED)
def test_what_cannot_be_edited_safely_is_left_to_people(table: str) -> None:
    text = TEXT.replace(STANDARD, UNEDITED[table])
    with pytest.raises(LoadlockError) as caught:
        policies.with_head_key(text, HEAD.id, SigningKey.generate().public, END)
    assert caught.value.code == "usage.configuration"
