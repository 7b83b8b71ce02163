"""Tokens of OpenID Connect issuers: a real issuer on loopback, and every way in which a token can be another one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from crl_server.access.issuers import Grant
from crl_server.access.oidc import AGAIN, FRESH, KEPT, Issuers
from crl_server.access.roles import Identity
from crl_server.service import Authority
from loadlock.testing.loopback import Loopback, status
from tests.crl_server.deployments import ACTOR, DAY, NOW, made
from tests.crl_server.issuer import EC, ED, RSA, Claims, Sso, b64, rsa_jwk
from tests.crl_server.live import Live
from tests.hosts import code_of
from verifier.formats.text import Name, PluginId

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def sso() -> Iterator[Sso]:
    with Loopback() as server:
        yield Sso(server)


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kid", "alg", "key"), [("rsa", "RS256", RSA), ("pss", "PS256", RSA), ("ec", "ES256", EC), ("ed", "EdDSA", ED)]
)
def test_a_token_in_force_tells_who_it_is(sso: Sso, kid: str, alg: str, key: Any) -> None:
    identity = Issuers([sso.issuer()]).identify(sso.token(kid, alg, key), NOW)
    assert identity == Identity("oidc:sso:ann", frozenset({"revoker"}), frozenset())


AT = int(NOW.timestamp())
WRONG_CLAIMS: dict[str, Claims] = {
    "another issuer": {"iss": "https://sso.example"},
    "an issuer with a slash more": {"iss": "{url}/"},
    "no issuer": {"iss": None},
    "an issuer that is no text": {"iss": 1},
    "another audience": {"aud": "elsewhere"},
    "audiences without ours": {"aud": ["elsewhere", "loadlock2"]},
    "no audience": {"aud": None},
    "expired": {"exp": AT - 61},
    "no end": {"exp": None},
    "an end that is true": {"exp": True},
    "an end that is text": {"exp": str(AT + 600)},
    "issued in the future": {"iat": AT + 120},
    "no time of issue": {"iat": None},
    "not valid yet": {"nbf": AT + 120},
    "issued in the future, though it begins before": {"iat": AT + 120, "nbf": AT - 60},
    "valid for a week": {"exp": AT + 7 * 86400},
    "no subject": {"sub": None},
    "a subject that is a number": {"sub": 7},
    "an empty subject": {"sub": ""},
    "a subject with a line break": {"sub": "ann\nroot"},
    "too long a subject": {"sub": "a" * 121},
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_wrong_claims_are_refused(sso: Sso, name: str) -> None:
    changes = {
        key: value.replace("{url}", sso.url) if isinstance(value, str) else value
        for key, value in WRONG_CLAIMS[name].items()
    }
    token = jwt.encode(sso.claims(), RSA, "RS256", {"kid": "rsa"})
    assert Issuers([sso.issuer()]).identify(token, NOW).roles
    payload = b64(json.dumps(sso.claims(**changes)).encode())
    signed = jwt.PyJWS().encode(base64.urlsafe_b64decode(payload + "=="), RSA, "RS256", {"kid": "rsa"})
    assert code_of(lambda: Issuers([sso.issuer()]).identify(signed, NOW)) == "auth.token"


def tokens(sso: Sso) -> dict[str, str]:
    good = sso.token()
    header, claims, signature = good.split(".")
    unsigned = b64(b'{"alg":"none","kid":"rsa"}')
    shared = sso.keys[-1]["k"]
    public = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    hmac = b64(b'{"alg":"HS256","kid":"rsa"}')
    confused = f"{hmac}.{claims}"
    twice = b64(b'{"iss":"' + sso.url.encode() + b'","iss":"' + sso.url.encode() + b'"}')
    return {
        "empty": "",
        "one part": "loadlock",
        "two parts": f"{header}.{claims}",
        "five parts": f"{good}.a.b",
        "no signature": f"{header}.{claims}.",
        "algorithm none": f"{unsigned}.{claims}.",
        "no JSON": f"{b64(b'x')}.{claims}.{signature}",
        "a list for a header": f"{b64(b'[]')}.{claims}.{signature}",
        "not base64": f"{header}.{claims}!.{signature}",
        "not ASCII": f"{header}.{claims}.é",
        "over the cap": good + "A" * 16_384,
        "other claims under the signature": f"{header}.{b64(json.dumps(sso.claims(sub='bob')).encode())}.{signature}",
        "a key twice in the claims": f"{header}.{twice}.{signature}",
        "a stranger's key": sso.token(key=stranger),
        "an unknown key": sso.token("unknown"),
        "no key id": jwt.encode(sso.claims(), RSA, "RS256"),
        "a key for encryption": sso.token("enc"),
        "an algorithm that is not taken": sso.token("weak", "RS512"),
        "another algorithm than the key's": sso.token("rsa", "PS256"),
        "a shared secret from the set": sso.token("shared", "HS256", base64.urlsafe_b64decode(shared + "==")),
        "the public key as a shared secret": f"{confused}.{b64(mac.sign(confused.encode(), public))}",
        "an extension that must be understood": sso.token(headers={"crit": ["b64"], "b64": True}),
        "a token of another kind": sso.token(headers={"typ": "logout+jwt"}),
    }


@pytest.fixture
def wrong(sso: Sso, request: pytest.FixtureRequest) -> str:
    return tokens(sso)[request.param]


NAMES = [
    "empty", "one part", "two parts", "five parts", "no signature", "algorithm none", "no JSON", "a list for a header",
    "not base64", "not ASCII", "over the cap", "other claims under the signature", "a key twice in the claims",
    "a stranger's key", "an unknown key", "no key id", "a key for encryption", "an algorithm that is not taken",
    "another algorithm than the key's", "a shared secret from the set", "the public key as a shared secret",
    "an extension that must be understood", "a token of another kind",
]  # fmt: skip


@pytest.mark.parametrize("wrong", NAMES, indirect=True)
def test_a_wrong_token_is_refused(sso: Sso, wrong: str) -> None:
    found = code_of(lambda: Issuers([sso.issuer()]).identify(wrong, NOW))
    assert found == "auth.token" or found.startswith("format.")


def test_the_names_above_are_all_there_are(sso: Sso) -> None:
    assert list(tokens(sso)) == NAMES


# -- keys --------------------------------------------------------------------------------------------------------------


def test_an_issuer_that_does_not_answer_is_told_apart(sso: Sso) -> None:
    sso.server.lies["keys"] = status(500)
    issuers = Issuers([sso.issuer()])
    assert code_of(lambda: issuers.identify(sso.token(), NOW)) == "unreachable.issuer"
    asked = len(sso.server.paths())
    assert code_of(lambda: issuers.identify(sso.token(), NOW)) == "unreachable.issuer"
    assert sso.server.paths() == []
    assert asked == 2


@pytest.mark.parametrize(
    "document", [{"issuer": "https://other.example"}, {"jwks_uri": None}, {"jwks_uri": "http://keys.example/"}]
)
def test_a_discovery_document_of_somebody_else_is_refused(sso: Sso, document: Claims) -> None:
    sso.publish(**document)
    assert code_of(lambda: Issuers([sso.issuer()]).identify(sso.token(), NOW)) == "unreachable.issuer"


def test_a_new_key_is_found_and_unknown_ones_ask_once_a_minute(sso: Sso) -> None:
    issuers = Issuers([sso.issuer()])
    issuers.identify(sso.token(), NOW)
    sso.keys.append(rsa_jwk("new", alg="RS256"))
    sso.publish()
    assert code_of(lambda: issuers.identify(sso.token("new"), NOW)) == "auth.token"
    assert issuers.identify(sso.token("new"), NOW + AGAIN).roles
    sso.server.paths()
    for _ in range(5):
        assert code_of(lambda: issuers.identify(sso.token("unknown"), NOW + AGAIN)) == "auth.token"
    assert sso.server.paths() == []


def test_a_key_that_was_taken_back_stops_counting(sso: Sso) -> None:
    issuers = Issuers([sso.issuer()])
    issuers.identify(sso.token(), NOW)
    sso.keys = [key for key in sso.keys if key["kid"] != "rsa"]
    sso.publish()
    later = NOW + FRESH
    ends = int(later.timestamp()) + 600
    assert code_of(lambda: issuers.identify(sso.token(exp=ends), later)) == "auth.token"


def test_a_key_set_serves_for_an_hour_without_the_issuer(sso: Sso) -> None:
    issuers = Issuers([sso.issuer()])
    issuers.identify(sso.token(), NOW)
    sso.server.lies["realm/.well-known/openid-configuration"] = status(503)

    def identify(after: timedelta) -> Identity:
        return issuers.identify(sso.token(exp=int((NOW + after).timestamp()) + 600), NOW + after)

    assert identify(FRESH).roles
    assert identify(KEPT - timedelta(minutes=2)).roles
    assert code_of(lambda: identify(KEPT)) == "unreachable.issuer"


# -- grants ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": None},
        {"groups": []},
        {"groups": "second"},
        {"groups": ["SEC"]},
        {"groups": 1},
        {"groups": {"sec": 1}},
    ],
)
def test_without_the_claim_there_is_no_role(sso: Sso, changes: Claims) -> None:
    assert Issuers([sso.issuer()]).identify(sso.token(**changes), NOW).roles == frozenset()


def test_a_grant_takes_all_of_its_claims_and_grants_add_up(sso: Sso) -> None:
    publish = {"project_id": "7", "ref_protected": "true"}
    grants = (
        Grant(roles=("publisher",), claims=publish, plugins=(PluginId("one"),)),
        Grant(roles=("publisher", "auditor"), claims=publish | {"ref": "v1"}, plugins=(PluginId("two"),)),
    )
    issuers = Issuers([sso.issuer(grant=grants)])

    def held(**claims: Any) -> tuple[set[str], set[str]]:
        identity = issuers.identify(sso.token(**claims), NOW)
        return set(identity.roles), set(identity.plugins or ())

    assert held(project_id="7") == (set(), set())
    assert held(project_id="7", ref_protected="false") == (set(), set())
    assert held(project_id="7", ref_protected=True) == ({"publisher"}, {"one"})
    assert held(project_id="7", ref_protected="true", ref="v1") == ({"auditor", "publisher"}, {"one", "two"})
    assert held(project_id=7, ref_protected="true") == (set(), set())  # a number has several spellings


def test_each_issuer_has_its_own_keys_and_grants(sso: Sso) -> None:
    with Loopback() as elsewhere:
        other = Sso(elsewhere)
        other.keys = []
        other.publish()
        issuers = Issuers([sso.issuer(), other.issuer(name=Name("other"))])
        assert issuers.identify(sso.token(), NOW).actor == "oidc:sso:ann"
        assert code_of(lambda: issuers.identify(other.token(), NOW)) == "auth.token"


# -- the API -----------------------------------------------------------------------------------------------------------


def test_people_of_the_issuer_use_the_api_in_their_roles(sso: Sso, tmp_path: Path) -> None:
    directory = tmp_path / "acme"
    made(directory).close()
    (directory / "server" / "issuers.toml").write_text(
        f'[[issuer]]\nname = "sso"\nurl = "{sso.url}"\naudience = "loadlock"\n'
        '[[issuer.grant]]\nroles = ["revoker"]\nclaims = { groups = "sec" }\n'
        '[[issuer.grant]]\nroles = ["auditor"]\nclaims = { groups = "audit" }\n'
    )
    authority = Authority(directory)
    body = json.dumps({"digests": ["sha256:" + "1" * 64], "reason": "malicious"}).encode()
    with Live(authority) as live:
        assert live.ask("POST", "/v1/revocations", sso.token(), body).status == 201
        assert live.ask("POST", "/v1/revocations", sso.token(groups=["audit"]), body).status == 403
        assert live.ask("POST", "/v1/revocations", sso.token(aud="x"), body).status == 401
        lines = live.ask("GET", "/v1/audit", sso.token(groups=["audit"])).json["entries"]
        sso.server.stop()
        live.now = NOW + KEPT
        late = sso.token(exp=int(live.now.timestamp()) + 60)
        assert live.ask("GET", "/v1/revocations", late).status == 503
    authority.close()
    assert "oidc:sso:ann" in json.dumps(lines)


# -- an issuer that hangs ----------------------------------------------------------------------------------------------


def test_an_issuer_that_hangs_keeps_no_token_of_this_service_waiting(sso: Sso, tmp_path: Path) -> None:
    """Anybody can name an issuer in a token, or ask for the way to it; a revocation waits for nobody's answer."""
    directory, hanging, asked = tmp_path / "acme", threading.Event(), threading.Event()
    made(directory).close()
    (directory / "server" / "issuers.toml").write_text(
        f'[[issuer]]\nname = "sso"\nurl = "{sso.url}"\naudience = "loadlock"\nconsole = {{ client = "console" }}\n'
        '[[issuer.grant]]\nroles = ["revoker"]\nclaims = { groups = "sec" }\n'
    )
    authority = Authority(directory)
    secret = authority.create_token(Name("security"), ["revoker"], DAY, ACTOR, NOW)
    body = json.dumps({"digests": ["sha256:" + "1" * 64], "reason": "malicious"}).encode()

    def hang(handler: Any) -> None:
        asked.set()
        hanging.wait(60)
        status(503)(handler)

    sso.server.lies["realm/.well-known/openid-configuration"] = hang
    with Live(authority) as live, ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(live.ask, "GET", "/v1/revocations", sso.token()) for _ in range(50)]
        waiting += [pool.submit(live.ask, "GET", "/console/login/sso") for _ in range(50)]
        try:
            assert asked.wait(20)
            done = pool.submit(live.ask, "POST", "/v1/revocations", secret, body)
            assert done.result(20).status == 201
        finally:
            hanging.set()
        assert {answer.result(60).status for answer in waiting} == {503}
    authority.close()


def test_while_one_asks_the_issuer_the_others_go_by_what_is_known(sso: Sso) -> None:
    hanging, asked = threading.Event(), threading.Event()
    issuers, later = Issuers([sso.issuer()]), NOW + FRESH
    known = sso.token(exp=int((later + FRESH).timestamp()))
    issuers.identify(known, NOW)

    def hang(handler: Any) -> None:
        asked.set()
        hanging.wait(60)
        status(503)(handler)

    sso.server.lies["keys"] = hang
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(issuers.identify, known, later)
        try:
            assert asked.wait(20)
            assert issuers.identify(known, later).actor == "oidc:sso:ann"
            assert not first.done()
        finally:
            hanging.set()
        assert first.result(20).actor == "oidc:sso:ann"
