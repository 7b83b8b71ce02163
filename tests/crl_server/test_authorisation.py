"""Every route of the API, and who may use it: one table, held against the application and against a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from crl_server.access.roles import ALLOWED, ROLES, STAFF, WRITES, Role
from crl_server.api.app import create_app
from crl_server.api.describe import told_routes
from crl_server.plugins.admission import Upload
from crl_server.service import Authority
from loadlock.testing.loopback import Loopback
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made
from tests.crl_server.issuer import Sso
from tests.crl_server.live import Live, denials, refusal
from tests.simulator import Simulator
from verifier.errors import Refused, UsageError
from verifier.formats.text import Name, PluginId

EVERYBODY = frozenset(STAFF)
WATCHERS = frozenset({"revoker", "approver", "auditor", "operator"})

TABLE: dict[tuple[str, str], frozenset[str] | None] = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/v1/openapi.json"): None,
    ("GET", "/metrics"): None,  # from this machine, unless the settings say otherwise
    ("POST", "/v1/artifacts"): frozenset({"publisher"}),
    ("GET", "/v1/artifacts/{digest}"): EVERYBODY,
    ("GET", "/v1/artifacts/{digest}/attestations"): EVERYBODY,
    ("GET", "/v1/artifacts/{digest}/evidence"): EVERYBODY,
    ("GET", "/v1/artifacts/{digest}/sbom"): EVERYBODY,
    ("GET", "/v1/components/artifacts"): EVERYBODY,
    ("GET", "/v1/plugins"): EVERYBODY,
    ("GET", "/v1/plugins/{plugin_id}"): EVERYBODY,
    ("POST", "/v1/revocations"): frozenset({"revoker"}),
    ("POST", "/v1/revocations/bulk"): frozenset({"revoker"}),
    ("GET", "/v1/revocations"): EVERYBODY,
    ("POST", "/v1/rules"): frozenset({"revoker"}),
    ("GET", "/v1/rules"): EVERYBODY,
    ("POST", "/v1/reinstatements"): frozenset({"revoker", "approver"}),
    ("POST", "/v1/reinstatements/{number}/approval"): frozenset({"approver"}),
    ("GET", "/v1/reinstatements"): EVERYBODY,
    ("POST", "/v1/waivers"): frozenset({"operator"}),
    ("POST", "/v1/waivers/{number}/approval"): frozenset({"approver"}),
    ("POST", "/v1/waivers/{number}/end"): frozenset({"revoker", "approver", "operator"}),
    ("GET", "/v1/waivers"): EVERYBODY,
    ("GET", "/v1/audit"): frozenset({"approver", "auditor", "operator"}),
    ("GET", "/v1/audit/export"): frozenset({"approver", "auditor", "operator"}),
    ("POST", "/v1/hosts/{host}/acknowledgement"): frozenset({"host"}),
    ("GET", "/v1/hosts"): WATCHERS,
    ("GET", "/v1/coverage"): WATCHERS,
    ("GET", "/v1/components/hosts"): WATCHERS,
}
"""Who may use a route: the roles, or None for anybody. A route that is not here fails the first test below."""
PARTS = {"{digest}": digest("never"), "{plugin_id}": "nothing", "{number}": "1", "{host}": "web-1"}
QUERIES = {"/v1/components/artifacts": "?purl=pkg%3Apypi%2Fx", "/v1/components/hosts": "?purl=pkg%3Apypi%2Fx"}
STREAMS = {("GET", "/v1/events"): WATCHERS}
"""What never ends, and is no operation of the document."""
GUARDED = [route for route, roles in TABLE.items() if roles is not None]


class World(NamedTuple):
    """A server, a token for each role, and an issuer of tokens whose people are revokers."""

    live: Live
    tokens: dict[Role, str]
    sso: Sso


@pytest.fixture(scope="module")
def world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp(engine) / "acme"
    made(directory).close()
    with Loopback() as server:
        sso = Sso(server)
        (directory / "server" / "issuers.toml").write_text(
            f'[[issuer]]\nname = "sso"\nurl = "{sso.url}"\naudience = "loadlock"\n'
            '[[issuer.grant]]\nroles = ["revoker"]\nclaims = { groups = "sec" }\n'
        )
        authority = Authority(directory)
        tokens = {
            role: authority.create_token(Name(role), [role], DAY, ACTOR, NOW, Name("web-1") if role == "host" else None)
            for role in ROLES
        }
        with Live(authority) as live:
            yield World(live, tokens, sso)
        authority.close()


@pytest.fixture(autouse=True)
def _clock(world: World) -> None:
    world.live.now = NOW


def address(path: str) -> str:
    for part, value in PARTS.items():
        path = path.replace(part, value)
    return path + QUERIES.get(path, "")


def test_every_route_is_in_the_table_and_says_so_itself(world: World) -> None:
    routes = told_routes(create_app(world.live.authority, lambda: NOW).routes)
    said = {
        (method, route.path_format): None if known.may is None else frozenset(ALLOWED[known.may])
        for route, known in routes
        for method in route.methods or ()
    }
    assert said == TABLE


def test_every_operation_is_used_by_a_route_and_every_write_is_one(world: World) -> None:
    routes = told_routes(create_app(world.live.authority, lambda: NOW).routes)
    used = {known.may: (route.methods or set()) for route, known in routes if known.may is not None}
    assert set(used) | {"metrics.read", "host.read"} == set(ALLOWED)
    assert {may for may, methods in used.items() if methods != {"GET"}} == set(WRITES)


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_as_far_as_the_table_says(world: World, role: Role, method: str, path: str) -> None:
    answer = world.live.ask(method, address(path), world.tokens[role])
    if role in (TABLE[method, path] or ()):
        assert answer.status not in (401, 403)
    else:
        assert role in refusal(answer, 403, "auth.role")["found"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nobody_gets_in_without_a_valid_token(world: World, method: str, path: str) -> None:
    role = next(role for role in ROLES if role in (TABLE[method, path] or ()))
    elsewhere, unknown = world.sso.token(aud="another-service"), "loadlock_" + "x" * 43
    late, unsigned = world.sso.token(exp=int(NOW.timestamp()) - 3600), world.sso.token().rpartition(".")[0] + "."
    for presented in ("", "x", elsewhere, late, unsigned, unknown, world.tokens[role] + "x"):
        answer = world.live.ask(method, address(path), presented)
        refusal(answer, 401, "auth.token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    basic = world.live.ask(method, address(path), headers={"Authorization": f"Basic {world.tokens[role]}"})
    refusal(basic, 401, "auth.token")
    world.live.now = NOW + DAY  # the end of the tokens
    refusal(world.live.ask(method, address(path), world.tokens[role]), 401, "auth.token")


@pytest.mark.parametrize(("method", "path"), STREAMS)
def test_a_stream_is_for_those_of_the_table_too(world: World, method: str, path: str) -> None:
    refusal(world.live.ask(method, path), 401, "auth.token")
    for role in set(ROLES) - STREAMS[method, path]:
        refusal(world.live.ask(method, path, world.tokens[role]), 403, "auth.role")


@pytest.mark.parametrize(("method", "path"), [route for route, roles in TABLE.items() if roles is None])
def test_what_anybody_may_see_takes_no_token(world: World, method: str, path: str) -> None:
    assert world.live.ask(method, path).status == 200


def test_people_of_an_issuer_get_as_far_as_their_grants(world: World) -> None:
    token = world.sso.token()
    assert world.live.ask("GET", "/v1/revocations", token).status == 200
    assert world.live.ask("GET", "/v1/audit", token).status == 403
    assert world.live.ask("GET", "/v1/revocations", world.sso.token(groups=["none"])).status == 403


def test_a_token_that_was_taken_back_gets_nowhere(world: World) -> None:
    authority = world.live.authority
    secret = authority.create_token(Name("gone"), ["auditor"], DAY, ACTOR, NOW)
    assert world.live.ask("GET", "/v1/audit", secret).status == 200
    authority.revoke_token(Name("gone"), ACTOR, NOW)
    refusal(world.live.ask("GET", "/v1/audit", secret), 401, "auth.token")


def test_a_refused_write_is_recorded_and_changes_nothing(world: World) -> None:
    world.live.now = NOW + 2 * HOUR  # past the cap of the tests before
    before, seq = len(denials(world.live.authority)), world.live.authority.standing(NOW).revocations.head.seq
    body = json.dumps({"digests": [digest(1)], "reason": "malicious"}).encode()
    refusal(world.live.ask("POST", "/v1/revocations", world.sso.token(aud="x"), body), 401, "auth.token")
    refusal(world.live.ask("POST", "/v1/revocations/bulk", world.tokens["auditor"], body), 403, "auth.role")
    assert denials(world.live.authority)[before:] == [
        ("anonymous", "revocation.add", "auth.token"),
        ("token:auditor", "revocation.add", "auth.role"),
    ]
    assert world.live.authority.standing(NOW).revocations.head.seq == seq


def test_no_token_lies_in_the_database(world: World) -> None:
    root: Path = world.live.authority.layout.root
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert not [role for role, secret in world.tokens.items() if secret.encode() in kept]


# -- scopes ------------------------------------------------------------------------------------------------------------


def test_a_token_for_some_plugins_publishes_no_others(world: World) -> None:
    authority, simulator = world.live.authority, Simulator(NOW)
    secret = authority.create_token(Name("ci"), ["publisher"], DAY, ACTOR, NOW, None, [PluginId("csv_exporter")])
    identity = authority.identify(secret, NOW)
    assert identity.plugins == frozenset({PluginId("csv_exporter")})
    identity.check_plugin(PluginId("csv_exporter"))
    with pytest.raises(Refused) as caught:
        identity.check_plugin(PluginId("sample_plugin"))
    assert caught.value.code == "auth.plugin"
    assert authority.identify(world.tokens["publisher"], NOW).plugins is None
    wheel = simulator.wheel()
    with pytest.raises(Refused):  # nor does it get that far where the policy knows nobody of it
        authority.admit(Upload(wheel.file_name, wheel.data, simulator.attest(wheel)), identity, NOW)


@pytest.mark.parametrize(
    ("roles", "plugins"), [(["auditor"], ["a"]), (["publisher"], [f"p{number}" for number in range(51)])]
)
def test_a_scope_that_makes_no_sense_is_refused(world: World, roles: list[Role], plugins: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        world.live.authority.create_token(Name("odd"), roles, DAY, ACTOR, NOW, None, [PluginId(p) for p in plugins])
    assert caught.value.code == "usage.arguments"
