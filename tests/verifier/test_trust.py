"""Trust from verified bytes: what policy and checkpoint must agree on, the floor, and the one clock that counts."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from loadlock.testing.documents import DEPLOYMENT, Documents
from loadlock.testing.repository import TufRepository
from verifier.deployment.trust import Trust, verify_trust
from verifier.errors import Refused
from verifier.formats.enrolment import Floor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FLOOR = Floor(root=1, targets=1, epoch=1, seq=0)


def repository(documents: Documents) -> TufRepository:
    return TufRepository(NOW, documents.policy(NOW), documents.checkpoint())


def trust_of(repo: TufRepository) -> Trust:
    return verify_trust(repo.pinned, *repo.state())


def refused(repo: TufRepository) -> str:
    with pytest.raises(Refused) as caught:
        trust_of(repo)
    return caught.value.code


def test_a_checkpoint_of_another_deployment_is_refused() -> None:
    repo = repository(Documents())
    repo.publish_checkpoint(NOW, Documents("other").checkpoint())
    assert refused(repo) == "trust.deployment"


@pytest.mark.parametrize("policy", [b"", b"{}", b'{"v":2}', b'{"v":1,"v":1}', b"\xef\xbb\xbf{}"])
def test_a_signed_policy_that_is_malformed_is_refused(policy: bytes) -> None:
    repo = repository(Documents())
    repo.publish_policy(NOW, policy)
    assert refused(repo).startswith("format.")


def test_a_signed_checkpoint_that_is_malformed_is_refused() -> None:
    repo = repository(Documents())
    repo.publish_checkpoint(NOW, b'{"v":1}')
    assert refused(repo) == "format.schema"


def test_an_unsigned_policy_is_never_parsed() -> None:
    repo = repository(Documents())
    repo.targets_files["policy.json"] = b"not even JSON"
    assert refused(repo) == "trust.metadata"


@pytest.mark.parametrize(
    ("floor", "word"),
    [
        (Floor(root=2, targets=1, epoch=1, seq=0), "root"),
        (Floor(root=1, targets=2, epoch=1, seq=0), "policy"),
        (Floor(root=1, targets=1, epoch=2, seq=0), "epoch"),
    ],
)
def test_trust_below_the_floor_is_refused(floor: Floor, word: str) -> None:
    with pytest.raises(Refused) as caught:
        trust_of(repository(Documents())).check(DEPLOYMENT, floor, NOW)
    assert caught.value.code == "trust.rollback"
    assert word in caught.value.what


def test_trust_of_another_deployment_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        trust_of(repository(Documents())).check("other", FLOOR, NOW)
    assert caught.value.code == "trust.deployment"


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=1), timedelta(days=10_000)])
def test_trust_is_refused_from_the_second_at_which_its_policy_ends(late: timedelta) -> None:
    trust = trust_of(repository(Documents()))
    with pytest.raises(Refused) as caught:
        trust.check(DEPLOYMENT, FLOOR, NOW + timedelta(days=30) + late)
    assert caught.value.code == "trust.expired"
    trust.check_floor(DEPLOYMENT, FLOOR)


def test_trust_is_accepted_until_then_though_all_tuf_metadata_has_expired() -> None:
    documents = Documents()
    repo = TufRepository(NOW, documents.policy(NOW, life=timedelta(days=4_000)), documents.checkpoint())
    trust = trust_of(repo)
    late = NOW + timedelta(days=3_999)
    assert all(facts.expires < late for facts in trust.roles.values())
    trust.check(DEPLOYMENT, FLOOR, late)


def test_trust_says_which_versions_it_stands_on_and_cannot_be_changed() -> None:
    documents = Documents()
    repo = repository(documents)
    repo.rotate_root_key(NOW)
    repo.publish_policy(NOW, documents.policy(NOW, version=2))
    repo.publish_policy(NOW, documents.policy(NOW, version=3))
    repo.publish_checkpoint(NOW, documents.checkpoint(epoch=2))
    trust = trust_of(repo)
    assert (trust.root_version, trust.targets_version, trust.checkpoints_version) == (2, 3, 2)
    assert (trust.policy.version, trust.checkpoint.epoch, trust.deployment) == (3, 2, DEPLOYMENT)
    trust.check(DEPLOYMENT, Floor(root=2, targets=3, epoch=2, seq=0), NOW)
    with pytest.raises(AttributeError):
        trust.policy = trust.policy  # type: ignore[misc]


def test_importing_trust_loads_neither_tuf_nor_the_network() -> None:
    script = (
        "import sys, verifier.deployment.trust, verifier.deployment.home\n"
        "loaded = {'tuf', 'securesystemslib', 'urllib3', 'http.client', 'ssl', 'socket'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_verifying_trust_loads_no_network_code() -> None:
    script = (
        # securesystemslib imports the SDK of a cloud where there is one, which a host without extras has not.
        "import sys; sys.modules['boto3'] = None\n"
        "import verifier.deployment.tuf_chain\n"
        "loaded = {'urllib3', 'http.client', 'ssl', 'socket', 'tuf.ngclient', 'sigstore'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
