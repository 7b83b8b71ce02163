"""Bodies that arrive slowly, or many at a time: they keep nobody else waiting.

On one engine: what is asked of the database before a body is read is asked in many other tests, on both.
"""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from crl_server.api import bodies
from tests.crl_server.console.visitor import Visitor
from tests.crl_server.deployments import ACTOR, DAY, NOW, made
from tests.crl_server.live import Live, refusal
from tests.waiting import until
from verifier.formats.text import Name

# Starlette leaves what has arrived of a form to the garbage collector when the rest does not come.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored.*SpooledTemporaryFile")

BOUNDARY = "x"
NAME = "a-1.0-py3-none-any.whl"
BEGIN = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="wheel"; filename="{NAME}"\r\n\r\n'.encode()
NOT_A_WHEEL = {"wheel": (NAME, b"x"), "attestations": ("set.jsonl", b"x")}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp("bodies") / "acme")
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def tokens(live: Live) -> list[str]:
    """Of two publishers, and of a revoker."""
    roles = (("slow", "publisher"), ("quick", "publisher"), ("security", "revoker"))
    return [live.authority.create_token(Name(name), [role], DAY, ACTOR, NOW) for name, role in roles]  # type: ignore[list-item]


def begun(live: Live, token: str, path: str = "/v1/artifacts", **headers: str) -> http.client.HTTPConnection:
    """A request whose body never ends."""
    connection = http.client.HTTPConnection(live.address.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", path)
    told = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for name, value in {**told, "Content-Length": "100000", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(BEGIN)
    return connection


def test_uploads_that_do_not_end_keep_no_other_waiting(live: Live, tokens: list[str]) -> None:
    slow, quick, _ = tokens
    with ExitStack() as stack:

        def refuses_more() -> bool:
            stack.enter_context(closing(begun(live, slow)))
            return live.ask("POST", "/v1/artifacts", slow, fields=NOT_A_WHEEL).status == 429

        until(refuses_more)
        refused = live.ask("POST", "/v1/artifacts", slow, fields=NOT_A_WHEEL)
        assert refusal(refused, 429, "request.rate")["expected"] == "one that begins when another has ended"
        assert refused.headers["retry-after"] == "5"
        assert live.ask("POST", "/v1/artifacts", quick, fields=NOT_A_WHEEL).status == 422  # judged
    until(lambda: live.ask("POST", "/v1/artifacts", slow, fields=NOT_A_WHEEL).status == 422)


@pytest.mark.parametrize("path", ["/v1/artifacts", "/v1/revocations", "/v1/revocations/bulk"])
def test_a_body_that_arrives_too_slowly_is_refused(
    live: Live, tokens: list[str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.1)
    with closing(begun(live, tokens[1 if path == "/v1/artifacts" else 2], path)) as connection:
        answer = connection.getresponse()
        assert (answer.status, b'"code":"request.slow"' in answer.read()) == (408, True)


def test_so_is_a_form_of_the_console(live: Live, tokens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.1)
    visitor = Visitor(live, tokens[2])
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": live.address}
    with closing(begun(live, "", "/console/revoke", **headers)) as connection:
        answer = connection.getresponse()
        assert (answer.status, b"request.slow" in answer.read()) == (408, True)


def test_each_byte_that_arrives_buys_time(live: Live, tokens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.0)
    monkeypatch.setattr(bodies, "SLOWEST", 0.001)
    with closing(begun(live, tokens[1])) as connection:
        connection.send(b"x" * (100_000 - len(BEGIN)))
        answer = connection.getresponse()
        assert (answer.status, answer.read() != b"") == (400, True)  # whole, and no form


def test_an_upload_that_no_disk_takes_is_told_as_such(
    live: Live, tokens: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    large = {"wheel": (NAME, b"x" * 2_000_000), "attestations": ("set.jsonl", b"x")}
    refusal(live.ask("POST", "/v1/artifacts", tokens[1], fields=large), 503, "io.failed")
