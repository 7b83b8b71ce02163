"""A host behind a proxy: enrolment and refresh go by its way, what is on this machine does not."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hosts import HostedDeployment, code_of
from verifier.refreshing.refresh import Refresher, enroll
from verifier.refreshing.transport import Transport

SERVER = "loadlock.example"


class Proxy(ThreadingHTTPServer):
    """Forwards plain requests for :data:`SERVER` to a server on loopback; refuses tunnels. Keeps what it was asked."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target = target
        self.asked: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Forward(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path, self.headers["Proxy-Authorization"]))
        asked = urlsplit(self.path)
        assert asked.netloc == SERVER
        answer = Transport(self.server.target).request(asked.path, 1 << 24)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def do_CONNECT(self) -> None:
        self.server.asked.append(("CONNECT", self.path, self.headers["Proxy-Authorization"]))
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def proxy(hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Proxy(hosted.server.url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_host_enrols_and_refreshes_through_a_proxy(
    hosted: HostedDeployment, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    home = enroll(f"http://{SERVER}", hosted.root, tmp_path / "behind")
    # The enrolment names the server by its own address, on loopback; what is asked of it goes by no proxy.
    asked = [path for _, path, _ in proxy.asked]
    assert asked == [f"http://{SERVER}/enrolment.json"]
    proxy.asked.clear()
    Refresher(home, Transport(f"http://{SERVER}")).refresh(hosted.now)
    assert f"http://{SERVER}/lists/head.json" in [path for _, path, _ in proxy.asked]
    assert any("/trust/metadata/" in path for _, path, _ in proxy.asked)


def test_https_asks_for_a_tunnel(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    assert code_of(lambda: Transport(f"https://{SERVER}").get("/x", 100)) == "unreachable.server"
    assert {(method, path) for method, path, _ in proxy.asked} == {("CONNECT", f"{SERVER}:443")}


def test_a_password_goes_to_the_proxy_and_nowhere_else(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://alice:s%40cret@{proxy.address}")
    with pytest.raises(Exception, match="did not answer") as caught:
        Transport(f"https://{SERVER}").get("/x", 100)
    assert proxy.asked[0][2] == "Basic " + base64.b64encode(b"alice:s@cret").decode()
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("exempt", [SERVER, ".example", "*"])
def test_what_no_proxy_names_is_asked_directly(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert code_of(lambda: Transport(f"http://{SERVER}").get("/x", 100)) == "unreachable.server"
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_directly(
    hosted: HostedDeployment, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    server = hosted.server.url.replace("127.0.0.1", host)
    assert Transport(server).get("/lists/head.json", 1 << 20).status == 200
    assert proxy.asked == []


@pytest.mark.parametrize(
    "address", ["socks5://alice:secret@127.0.0.1:1", "ftp://127.0.0.1", "http://", "http://[::1]:x"]
)
def test_a_proxy_of_another_kind_is_wrong_configuration(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(Exception, match="proxy of an unknown kind") as caught:
        Transport(f"http://{SERVER}")
    assert "secret" not in str(caught.value)
