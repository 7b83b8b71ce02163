"""The API over real HTTP: who may do what, what a refusal looks like, that a write is done once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from crl_server.access.roles import STAFF, Identity
from crl_server.api import bodies, health
from crl_server.lists import public_tree
from crl_server.plugins import admission, registry
from crl_server.plugins.admission import Admitted, Upload
from crl_server.records.audit import parse_entry, verify_log
from crl_server.settings import Metrics, Settings
from crl_server.trust import policies
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made
from tests.crl_server.live import Answer, Live, denials, refusal
from tests.simulator import PluginWheel, Simulator
from verifier.errors import Refused, Unreachable
from verifier.formats.revocations import AuditHead
from verifier.formats.statement import CERTIFICATION, MANIFEST
from verifier.formats.text import Hex, Name, PluginId

pytestmark = pytest.mark.usefixtures("engine")

ROLE_OF_PERSON = {"builder": None, "owner": None, "certifier": "core"}


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    """People with keys, and their plugin; its deployment is not used."""
    return Simulator(NOW)


@pytest.fixture(scope="module")
def live(engine: str, tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Live]:
    """A production deployment that knows the simulator's people and plugin, served."""
    authority = made(tmp_path_factory.mktemp("api") / "acme", "production")
    office = authority.office()
    text = office.text()
    for name, tier in ROLE_OF_PERSON.items():
        text = policies.with_principal(text, Name(name), simulator.people[name].public, tier)  # type: ignore[arg-type]
    roles = ([Name("builder")], [Name("owner")], [Name("certifier")])
    office.sign_policy(policies.with_plugin(text, PluginId("sample_plugin"), *roles, None), ACTOR, NOW)
    authority.settings = Settings(metrics=Metrics(access="token"))
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def tokens(live: Live) -> dict[str, str]:
    """A token for each role, and one for all roles."""
    create = live.authority.create_token
    made: dict[str, str] = {role: create(Name(role), [role], DAY, ACTOR, NOW) for role in STAFF}
    made["host"] = create(Name("host"), ["host"], DAY, ACTOR, NOW, Name("web-1"))
    return made | {"all": create(Name("all"), STAFF, DAY, ACTOR, NOW)}


@pytest.fixture(autouse=True)
def _clock(live: Live) -> None:
    live.now = NOW


def upload(wheel: PluginWheel, attestations: bytes) -> dict[str, Any]:
    """The fields of an upload."""
    return {
        "wheel": (wheel.file_name, wheel.data, "application/octet-stream"),
        "attestations": ("set.jsonl", attestations, "application/jsonl"),
    }


def revocation(*labels: object, reason: str = "malicious", **more: Any) -> bytes:
    return json.dumps({"digests": [digest(label) for label in labels], "reason": reason, **more}).encode()


# -- what is malformed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "format.syntax"),
        (b"[]", 422, "format.schema"),
        (b"{}", 422, "format.schema"),
        (b"\xff", 422, "format.encoding"),
        (b'{"digests":[],"digests":[],"reason":"mistake"}', 422, "format.duplicate-key"),
        (revocation(1, surprise=1), 422, "format.schema"),
        (b'{"digests":["sha256:00"],"reason":"mistake"}', 422, "format.schema"),
        (b'{"digests":"sha256:00","reason":"mistake"}', 422, "format.schema"),
        (revocation(1, reason="because"), 422, "format.schema"),
        (revocation(), 422, "format.schema"),
        (revocation(1, 1), 400, "usage.arguments"),
        (revocation(1, note="\x1b[2J"), 422, "format.schema"),
        (b" " * (bodies.MAX_JSON + 1), 413, "format.too-large"),
    ],
)
def test_a_malformed_revocation_is_refused(
    live: Live, tokens: dict[str, str], body: bytes, status: int, code: str
) -> None:
    seq = live.authority.standing(NOW).revocations.head.seq
    refusal(live.ask("POST", "/v1/revocations", tokens["revoker"], body), status, code)
    assert live.authority.standing(NOW).revocations.head.seq == seq


@pytest.mark.parametrize(
    "path",
    [
        "/v1/plugins?limit=0",
        "/v1/plugins?limit=1001",
        "/v1/plugins?limit=x",
        "/v1/revocations?after=-1",
        "/v1/audit?after=-2",
        "/v1/plugins/Not-An-Id",
        "/v1/artifacts/sha256:00",
        "/v1/artifacts/..%2f..%2fetc",
    ],
)
def test_a_malformed_question_is_refused(live: Live, tokens: dict[str, str], path: str) -> None:
    answer = live.ask("GET", path, tokens["all"])
    assert answer.status in (400, 404)
    refusal(answer, answer.status, "request.invalid" if answer.status == 400 else "request.unknown")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/nothing", 405),
        ("PUT", "/v1/revocations", 405),
        ("DELETE", "/v1/artifacts/x", 405),
    ],
)
def test_what_is_not_there_is_a_problem_too(live: Live, method: str, path: str, status: int) -> None:
    refusal(live.ask(method, path), status, "request.unknown")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"wheel": ("a.whl", b"x", "application/octet-stream")},
        {"attestations": ("a", b"x", "application/jsonl")},
        {"wheel": "text", "attestations": "text"},
        {"wheel": ("../a.whl", b"x", "a/b"), "attestations": ("a", b"x", "a/b")},
        {"wheel": ("", b"x", "a/b"), "attestations": ("a", b"x", "a/b")},
        {"wheel": ("a.whl", b"x", "a/b"), "attestations": ("a", b"x", "a/b"), "more": ("a", b"x", "a/b")},
        {"wheel": ("a.whl", b"x", "a/b"), "chain": ("a", b"x", "a/b")},
        {"wheel": ("a.whl", b"x", "a/b"), "attestations": ("a", b"x", "a/b"), "chain": "text"},
    ],
)
def test_a_malformed_upload_is_refused(live: Live, tokens: dict[str, str], fields: dict[str, Any]) -> None:
    refusal(live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=fields), 400, "request.invalid")


def test_an_upload_of_another_type_is_refused(live: Live, tokens: dict[str, str]) -> None:
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"-"),
    ):
        answer = live.ask("POST", "/v1/artifacts", tokens["publisher"], body, {"Content-Type": kind})
        refusal(answer, 400, "request.invalid")


@pytest.mark.parametrize("announced", [True, False])
def test_an_oversized_upload_is_cut_off_while_it_arrives(
    live: Live, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    monkeypatch.setattr(bodies, "MAX_UPLOAD", 1000)
    head = (
        f"POST /v1/artifacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens['publisher']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
    ).encode()
    part = b'--x\r\nContent-Disposition: form-data; name="wheel"; filename="a.whl"\r\n\r\n' + b"x" * 2000
    if announced:  # refused before a byte of it has come
        first = live.send_raw(head + b"Content-Length: 99999999999\r\n\r\n")
    else:  # and no more than the cap is read of what never ends
        first = live.send_raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(part), part))
    assert first.startswith(b"HTTP/1.1 413")


# -- admitting ---------------------------------------------------------------------------------------------------------


def test_an_upload_that_does_not_verify_is_refused_with_the_code_of_the_check(
    live: Live, tokens: dict[str, str], simulator: Simulator
) -> None:
    wheel = simulator.wheel(version="1.1")
    claims = simulator.claims(wheel)
    claims["manifest"].signer = simulator.people["stranger"]
    told = refusal(
        live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=upload(wheel, claims.sign())),
        422,
        "signature.unknown-signer",
    )
    assert told["step"] == 4
    other = simulator.wheel("other-plugin")
    fields = upload(other, simulator.attest(other))
    refusal(live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=fields), 422, "decision.unknown-plugin")
    refusal(live.ask("GET", f"/v1/artifacts/{wheel.digest}", tokens["all"]), 404, "registry.unknown")
    refusal(live.ask("GET", "/v1/plugins/other_plugin", tokens["all"]), 404, "registry.unknown")


def test_who_may_publish_one_plugin_publishes_no_other(live: Live, simulator: Simulator) -> None:
    wheel = simulator.wheel()
    handed_in = Upload(wheel.file_name, wheel.data, simulator.attest(wheel))
    for plugins in (frozenset[PluginId](), frozenset({PluginId("other_plugin")})):
        identity = Identity("oidc:ci:project", frozenset({"publisher"}), plugins)
        with pytest.raises(Refused) as caught:
            live.authority.admit(handed_in, identity, NOW)
        assert caught.value.code == "auth.plugin"
    fields = {
        "wheel": (wheel.file_name, wheel.data, "application/octet-stream"),
        "attestations": ("a", handed_in.attestations, "application/jsonl"),
    }
    other = live.authority.create_token(
        Name("other-ci"), ["publisher"], DAY, ACTOR, NOW, None, [PluginId("other_plugin")]
    )
    refusal(live.ask("POST", "/v1/artifacts", other, fields=fields), 403, "auth.plugin")
    assert denials(live.authority)[-1] == ("token:other-ci", "artifact.admit", "auth.plugin")
    with live.authority.store.read() as ledger:
        assert wheel.digest not in registry.digests(ledger)
    identity = Identity("oidc:ci:project", frozenset({"publisher"}), frozenset({PluginId("sample_plugin")}))
    assert live.authority.admit(handed_in, identity, NOW).plugin_id == "sample_plugin"


def test_a_plugin_is_admitted_shown_and_its_set_is_served(
    live: Live, tokens: dict[str, str], simulator: Simulator
) -> None:
    wheel = simulator.wheel()
    attestations = simulator.attest(wheel)
    answer = live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=upload(wheel, attestations))
    assert (answer.status, answer.headers["location"]) == (201, f"/v1/artifacts/{wheel.digest}"), answer
    assert answer.json["plugin_id"] == "sample_plugin"

    shown = live.ask("GET", answer.headers["location"], tokens["auditor"]).json
    assert (shown["version"], shown["tier"], shown["admitted_by"]) == ("1.0", "core", "token:publisher")
    assert (shown["signers"][MANIFEST], shown["signers"][CERTIFICATION]) == ("owner", "certifier")
    assert shown["manifest"]["artifact_digest"] == wheel.digest
    assert live.ask("GET", shown["attestations"]).body == attestations
    assert [
        (found["plugin_id"], found["artifacts"])
        for found in live.ask("GET", "/v1/plugins", tokens["all"]).json["plugins"]
    ] == [("sample_plugin", 1)]
    (listed,) = live.ask("GET", "/v1/plugins/sample_plugin", tokens["all"]).json["artifacts"]
    assert (listed["digest"], listed["revoked"]) == (wheel.digest, [])

    # Once more, with a renewed certification: the registry keeps the newer set.
    renewed = simulator.attest(wheel)
    answer = live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=upload(wheel, renewed))
    assert answer.status == 201
    assert live.ask("GET", shown["attestations"]).body == renewed
    assert len(live.ask("GET", "/v1/plugins/sample_plugin", tokens["all"]).json["artifacts"]) == 1


def test_what_is_revoked_is_not_admitted(live: Live, tokens: dict[str, str], simulator: Simulator) -> None:
    wheel = simulator.wheel(version="2.0")
    fields = upload(wheel, simulator.attest(wheel))
    body = json.dumps({"digests": [wheel.digest], "reason": "vulnerability", "note": "CVE"}).encode()
    assert live.ask("POST", "/v1/revocations", tokens["revoker"], body).status == 201
    refusal(live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=fields), 422, "revoked.artifact")
    refusal(live.ask("GET", f"/v1/artifacts/{wheel.digest}", tokens["all"]), 404, "registry.unknown")


def test_what_is_revoked_but_not_published_yet_is_not_admitted(
    live: Live, tokens: dict[str, str], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Unreachable("io.failed", "the disk is full")

    wheel = simulator.wheel(version="2.1")
    body = json.dumps({"digests": [wheel.digest], "reason": "malicious"}).encode()
    with monkeypatch.context() as patched:
        patched.setattr(public_tree, "write_together", full)
        refusal(live.ask("POST", "/v1/revocations", tokens["revoker"], body), 503, "io.failed")
    fields = upload(wheel, simulator.attest(wheel))
    refusal(live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=fields), 422, "revoked.artifact")


def test_a_lost_attestation_set_is_written_again_at_the_start(
    live: Live, tokens: dict[str, str], simulator: Simulator
) -> None:
    wheel = simulator.wheel(version="2.2")
    attestations = simulator.attest(wheel)
    live.ask("POST", "/v1/artifacts", tokens["publisher"], fields=upload(wheel, attestations))
    path = live.authority.layout.set_file(wheel.digest.removeprefix("sha256:"))
    path.unlink()
    live.authority.reconcile(NOW)
    assert path.read_bytes() == attestations


def test_an_upload_under_one_key_is_done_once(live: Live, tokens: dict[str, str], simulator: Simulator) -> None:
    wheel = simulator.wheel(version="3.0")
    attestations = simulator.attest(wheel)
    key = {"Idempotency-Key": "upload-1"}

    def send(data: bytes) -> Answer:
        return live.ask("POST", "/v1/artifacts", tokens["publisher"], headers=key, fields=upload(wheel, data))

    first = send(attestations)
    assert first.status == 201
    log = live.authority.verify_audit(NOW)
    assert send(attestations).body == first.body
    refusal(send(simulator.attest(wheel) + attestations), 422, "request.idempotency")
    assert live.authority.verify_audit(NOW) == log


def test_an_upload_that_is_sent_twice_at_once_is_done_once(
    live: Live, tokens: dict[str, str], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a proxy that has lost its patience: neither of the two finds the other when it begins."""
    wheel = simulator.wheel(version="3.1")
    fields, key = upload(wheel, simulator.attest(wheel)), {"Idempotency-Key": "upload-2"}
    judge, together = admission.judge, Barrier(2)

    def meet(*given: Any) -> Admitted:
        together.wait(20)
        return judge(*given)

    monkeypatch.setattr(admission, "judge", meet)
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(live.ask, "POST", "/v1/artifacts", tokens["publisher"], None, key, fields) for _ in range(2)
        ]
        one, other = (call.result() for call in calls)
    assert (one.status, other.status, one.body) == (201, 201, other.body), other.body
    with live.authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    assert [entry.subject for entry in entries if entry.action == "artifact.admit"].count(wheel.digest) == 1


# -- revoking ----------------------------------------------------------------------------------------------------------


def test_a_revocation_is_on_the_served_list_when_it_is_answered(live: Live, tokens: dict[str, str]) -> None:
    before = live.ask("GET", "/lists/head.json")
    answer = live.ask("POST", "/v1/revocations", tokens["revoker"], revocation("x", "y", note="both"))
    assert answer.status == 201
    after = live.ask("GET", "/lists/head.json", headers={"If-None-Match": before.headers["etag"]})
    assert after.status == 200
    published = live.authority.standing(NOW).revocations
    assert published.envelope == after.body
    assert published.head.seq == answer.json["seq"]
    assert published.lists(digest("x"))
    assert published.lists(digest("y"))


def test_a_revocation_under_one_key_is_done_once(live: Live, tokens: dict[str, str]) -> None:
    key = {"Idempotency-Key": "revoke-1"}
    first = live.ask("POST", "/v1/revocations", tokens["revoker"], revocation("once"), key)
    head = live.ask("GET", "/lists/head.json").body
    again = live.ask("POST", "/v1/revocations", tokens["revoker"], revocation("once"), key)
    assert (again.status, again.body) == (first.status, first.body)
    assert live.ask("GET", "/lists/head.json").body == head
    other = live.ask("POST", "/v1/revocations", tokens["revoker"], revocation("twice"), key)
    refusal(other, 422, "request.idempotency")
    assert not live.authority.standing(NOW).revocations.lists(digest("twice"))
    mine = live.ask("POST", "/v1/revocations", tokens["all"], revocation("twice"), key)
    assert mine.status == 201


@pytest.mark.parametrize("key", ["k" * 201, "a\tb"])
def test_an_unusable_key_is_refused(live: Live, tokens: dict[str, str], key: str) -> None:
    answer = live.ask("POST", "/v1/revocations", tokens["revoker"], revocation("never"), {"Idempotency-Key": key})
    refusal(answer, 400, "usage.arguments")


def test_revocations_are_paged(live: Live, tokens: dict[str, str]) -> None:
    live.ask("POST", "/v1/revocations", tokens["revoker"], revocation(*range(5)))
    rows: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = live.ask("GET", f"/v1/revocations?after={after}&limit=2", tokens["auditor"]).json
        assert len(page["revocations"]) <= 2
        rows += page["revocations"]
        after = page["next"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert {digest(number) for number in range(5)} <= {row["digest"] for row in rows}
    assert {row["reason"] for row in rows} <= {"malicious", "vulnerability"}


# -- audit and health --------------------------------------------------------------------------------------------------


def test_the_audit_log_can_be_verified_from_what_the_api_gives(live: Live, tokens: dict[str, str]) -> None:
    lines: list[bytes] = []
    after: int | None = -1
    state: dict[str, Any] = {}
    while after is not None:
        page = live.ask("GET", f"/v1/audit?after={after}&limit=7", tokens["auditor"]).json
        lines += [entry["line"].encode() for entry in page["entries"]]
        after, state = page["next"], page["state"]
    head = live.authority.standing(NOW).revocations.head
    assert verify_log(lines, head.audit) == AuditHead(count=state["count"], sha256=Hex(state["sha256"]))


def test_health_is_told_to_anybody(live: Live) -> None:
    assert live.ask("GET", "/healthz").json == {"status": "ok"}
    ready = live.ask("GET", "/readyz").json
    assert (ready["status"], ready["warnings"]) == ("ready", [])


def test_a_server_whose_list_has_expired_is_not_ready(live: Live, tokens: dict[str, str], simulator: Simulator) -> None:
    live.now = NOW + 5 * DAY
    refusal(live.ask("GET", "/readyz"), 503, "server.not-ready")
    secret = live.authority.create_token(Name("later"), ["publisher"], 30 * DAY, ACTOR, NOW)
    wheel = simulator.wheel(version="4.0")
    fields = upload(wheel, simulator.attest(wheel))
    refusal(live.ask("POST", "/v1/artifacts", secret, fields=fields), 503, "server.not-ready")


def test_the_unexpected_tells_nothing_of_the_inside(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret of the inside")

    monkeypatch.setattr(health, "readiness", broken)
    answer = live.ask("GET", "/readyz", headers={"Connection": "close"})  # which the server ends after such an answer
    refusal(answer, 500, "internal.unexpected")
    assert b"secret" not in answer.body
    assert b"RuntimeError" not in answer.body


def test_nobody_on_the_way_keeps_an_answer_and_who_asked_may_ask_whether_it_still_stands(
    live: Live, tokens: dict[str, str]
) -> None:
    for path in ("/v1/nothing", "/v1/plugins?limit=0", "/healthz"):
        assert live.ask("GET", path, tokens["all"]).headers["cache-control"] == "no-store"
    for path in ("/v1/plugins", "/v1/revocations", "/v1/rules", "/v1/audit", "/v1/reinstatements"):
        first = live.ask("GET", path, tokens["all"])
        assert (first.headers["cache-control"], first.headers["vary"]) == ("private, no-cache", "Authorization")
        again = live.ask("GET", path, tokens["all"], headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        refusal(live.ask("GET", path, headers={"If-None-Match": first.headers["etag"]}), 401, "auth.token")


def test_nothing_of_the_deployment_but_its_public_tree_is_served(live: Live) -> None:
    root: Path = live.authority.layout.root
    private = [path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(root / "public")]
    assert len(private) > 8
    for path in private:
        name = path.relative_to(root)
        for prefix in ("/", "/../", "/public/../", "/lists/../../", "/%2e%2e/", "/lists/%2e%2e/%2e%2e/", "//", "/./"):
            assert live.send_raw(f"GET {prefix}{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).split()[1] == b"404"
