"""All services behind one address, and the documents by which clients know them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509

from tests.sigstore.fulcio import Fulcio
from tests.sigstore.keys import STARTED, ServiceKey, b64, certificate_der
from tests.sigstore.oidc import Issuer
from tests.sigstore.rekor import Log, Rekor1, Rekor2
from tests.sigstore.tsa import TimestampAuthority

COMBINATIONS = ((1, False), (1, True), (2, True))
"""Which log with or without timestamps: the three that exist. Rekor v2 states no time of its own."""

MAX_BODY = 1024 * 1024
Answer = tuple[int, str, bytes]


class PrivateSigstore:
    """The services; they answer while inside the block.

    Attributes:
        address: where they answer.
        issuer, fulcio, logs, tsa: the services themselves.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.issuer = Issuer(f"{self.address}/oidc")
        self.fulcio = Fulcio(self.issuer)
        self.logs: dict[int, Rekor1 | Rekor2] = {
            1: Rekor1(f"{self.address}/rekor1"),
            2: Rekor2(f"{self.address}/rekor2"),
        }
        self.tsa = TimestampAuthority()
        self._faults: dict[str, Callable[[], Answer]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # -- faults --------------------------------------------------------------------------------------------------------

    @contextmanager
    def failing(self, path: str, status: int = 500) -> Iterator[None]:
        """Inside the block every path that begins so answers with that status."""
        with self._fault(path, lambda: (status, "application/json", b'{"message":"out of order"}')):
            yield

    @contextmanager
    def hanging(self, path: str) -> Iterator[None]:
        """Inside the block every path that begins so answers nothing; what waits is let go at its end."""
        released = threading.Event()

        def hang() -> Answer:
            released.wait()
            return 503, "text/plain", b""

        try:
            with self._fault(path, hang):
                yield
        finally:
            released.set()

    @contextmanager
    def _fault(self, path: str, answer: Callable[[], Answer]) -> Iterator[None]:
        self._faults[path] = answer
        try:
            yield
        finally:
            del self._faults[path]

    # -- documents -----------------------------------------------------------------------------------------------------

    def trusted_root(self) -> dict[str, Any]:
        """The trusted root: what verifiers pin."""
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(log.key, log.address) for log in self.logs.values()],
            "certificateAuthorities": [self._authority(self.fulcio.certificate)],
            "ctlogs": [_log(self.fulcio.log_key, f"{self.address}/ct")],
            "timestampAuthorities": [self._authority(self.tsa.certificate, self.tsa.root)],
        }

    def trust_config(self, log: int = 1, *, timestamps: bool = False) -> dict[str, Any]:
        """The client trust configuration: what signers need."""
        stamps = _services(f"{self.address}/tsa/api/v1/timestamp") if timestamps else []
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root(),
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": _services(self.address),
                "oidcUrls": _services(self.issuer.url),
                "rekorTlogUrls": _services(self.logs[log].address, log),
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": stamps,
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _authority(self, *chain: x509.Certificate) -> dict[str, Any]:
        return {
            "subject": {"organization": "private", "commonName": "private"},
            "uri": self.address,
            "certChain": {"certificates": [{"rawBytes": b64(certificate_der(entry))} for entry in chain]},
            "validFor": {"start": _start()},
        }

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer(self, path: str, body: bytes, authorization: str) -> Answer:
        for prefix, fault in list(self._faults.items()):
            if path.startswith(prefix):
                return fault()
        match path:
            case "/api/v2/signingCert":
                return _json(201, self.fulcio.signing_cert(json.loads(body), authorization))
            case "/rekor1/api/v1/log/entries":
                return _json(201, self.logs[1].create(json.loads(body)))
            case "/rekor2/api/v2/log/entries":
                return _json(201, self.logs[2].create(json.loads(body)))
            case "/tsa/api/v1/timestamp":
                return 201, "application/timestamp-reply", self.tsa.stamp(body)
            case "/oidc/job":
                return _json(200, self.issuer.token_for_job(authorization))
        return _json(404, {"message": "nothing here"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY))
                self._reply(body)

            def do_GET(self) -> None:
                self._reply(b"")

            def _reply(self, body: bytes) -> None:
                try:
                    authorization = self.headers.get("Authorization", "")
                    status, kind, answer = service._answer(urlsplit(self.path).path, body, authorization)
                except Exception as error:
                    status, kind, answer = _json(400, {"message": f"{type(error).__name__}: {error}"})
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def _json(status: int, document: Any) -> Answer:
    return status, "application/json", json.dumps(document).encode()


def _start() -> str:
    return (datetime.now(UTC) - STARTED).strftime("%Y-%m-%dT%H:%M:%SZ")


def _log(key: ServiceKey, address: str) -> dict[str, Any]:
    public = {"rawBytes": b64(key.spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": _start()}}
    return {"baseUrl": address, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": b64(key.id)}}


def _services(address: str, version: int = 1) -> list[dict[str, Any]]:
    return [{"url": address, "majorApiVersion": version, "operator": "private", "validFor": {"start": _start()}}]


__all__ = ["COMBINATIONS", "Log", "PrivateSigstore"]
