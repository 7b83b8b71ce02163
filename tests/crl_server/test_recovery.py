"""After the theft of the head key: what the thief said is cut off, what the service said stays, also for late hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crl_server.lists.dossier import Dossier
from crl_server.service import Authority
from crl_server.trust.offline import Office
from crl_server.trust.recovery import Recovered, replace_stolen_key
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, HOUR, NOW, digest, made, revoke
from tests.crl_server.takebacks import Reader, checkpoint, sign_twice
from tests.crl_server.test_cli import run
from verifier.errors import LoadlockError
from verifier.formats import dsse
from verifier.formats.revocations import dump_set_file, prefix_of, sha256_hex
from verifier.signatures.private_keys import sign_envelope

pytestmark = pytest.mark.usefixtures("engine")

LATER = NOW + HOUR


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    revoke(new, "genuine")
    yield new
    new.close()


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    return caught.value.code


def lie(authority: Authority, key: SigningKey, host: Reader) -> None:
    """The thief revokes something, under a number far away, and a host takes it."""
    genuine = authority.layout.head.read_bytes()
    head = json.loads(dsse.parse_envelope(genuine).unverified_payload)
    data = dump_set_file(prefix_of(digest(label)) for label in ("genuine", "invented"))
    authority.layout.list_file("segments", sha256_hex(data)).write_bytes(data)
    head["segments"] = [{"from": 1, "to": 10**6, "count": 2, "sha256": sha256_hex(data)}]
    head["seq"] = 10**6
    envelope = sign_envelope(dsse.HEAD, json.dumps(head).encode(), ("", key))
    authority.layout.head.write_bytes(dsse.dump_envelope(envelope))
    host.refresh()
    authority.layout.head.write_bytes(genuine)
    assert host.current is not None
    assert host.current.lists(digest("invented"))


def recovered(authority: Authority, directory: Path) -> Recovered:
    return replace_stolen_key(authority, None, directory, ACTOR, LATER)


@pytest.mark.parametrize("slept", [0, 2])
def test_hosts_that_were_lied_to_follow_again(authority: Authority, tmp_path: Path, slept: int) -> None:
    stolen = SigningKey.read(authority.layout.online / "head.pem")
    host, honest = Reader(authority), Reader(authority)
    honest.refresh()
    lie(authority, stolen, host)
    revoke(authority, "since")
    assert code_of(host.refresh) == "list.rollback"
    done = recovered(authority, tmp_path / "c")
    assert done.stolen == (stolen.public.id,)
    honest.refresh(LATER)
    assert code_of(lambda: host.refresh(LATER)) == "list.rollback"
    dossier = Dossier(tmp_path / "c")
    assert sign_twice(authority, dossier, LATER).checkpoint.carry == 2
    authority.publish_checkpoint(dossier, ACTOR, LATER)
    for number in range(slept):
        checkpoint(authority, tmp_path / f"later-{number}", LATER)
    for found in (host.refresh(LATER), honest.refresh(LATER)):
        assert found.head.epoch == 2 + slept
        assert [found.lists(digest(label)) for label in ("genuine", "since", "invented")] == [True, True, False]
    revoke(authority, "after", now=LATER)
    assert host.refresh(LATER).lists(digest("after"))


def test_the_stolen_key_signs_nothing_any_more(authority: Authority, tmp_path: Path) -> None:
    stolen = SigningKey.read(authority.layout.online / "head.pem")
    recovered(authority, tmp_path / "c")
    assert code_of(lambda: lie(authority, stolen, Reader(authority))) == "list.signature"
    (aside,) = authority.layout.online.glob("head.stolen-*.pem")
    assert SigningKey.read(aside).public.id == stolen.public.id
    assert len(authority.repository.trust().policy.head_keys) == 1


def test_without_the_policys_key_nothing_changes(authority: Authority, tmp_path: Path) -> None:
    before = (authority.layout.online / "head.pem").read_bytes(), authority.layout.head.read_bytes()
    call = replace_stolen_key
    assert code_of(lambda: call(authority, tmp_path / "nowhere", tmp_path / "c", ACTOR, NOW)) == "io.failed"
    assert ((authority.layout.online / "head.pem").read_bytes(), authority.layout.head.read_bytes()) == before


def test_a_policy_laid_out_by_hand_is_left_to_people(authority: Authority, tmp_path: Path) -> None:
    text = authority.layout.policy.read_text()
    authority.layout.policy.write_text(re.sub(r'not_after = ("[^"]*")', r'not_after = ""\1""', text))
    before = (authority.layout.online / "head.pem").read_bytes()
    assert code_of(lambda: recovered(authority, tmp_path / "c")) == "usage.configuration"
    assert (authority.layout.online / "head.pem").read_bytes() == before


def test_done_again_after_a_crash_it_finishes(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Office, "sign_policy", dies)
        with pytest.raises(KeyboardInterrupt):
            recovered(authority, tmp_path / "c")
    key = SigningKey.read(authority.layout.online / "head.pem").public.id
    done = recovered(authority, tmp_path / "d")
    assert done.key == key
    sign_twice(authority, Dossier(tmp_path / "d"), LATER)
    assert authority.publish_checkpoint(Dossier(tmp_path / "d"), ACTOR, LATER).lists(digest("genuine"))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crl_server.operating.serving import utc_now

    authority = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    done = run("recover", tmp_path / "c")
    assert (done["epoch"], done["policy"], len(done["stolen"])) == (2, 2, 1)
    assert (tmp_path / "c" / "checkpoint.json").is_file()
    authority.close()
