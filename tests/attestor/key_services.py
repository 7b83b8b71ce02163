"""Places where keys lie, for tests: a software token from the distribution, and services on the loopback interface.

The token is softhsm2, through its real PKCS#11 module. Neither AWS's service nor Vault can run here, so
:class:`Services` speaks the few requests of both that matter, with real keys, to the real client libraries. These
libraries are installed apart from the test's own environment, which shows what happens without them.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from attestor.building.wheelhouse import prepare, uv_program

LOCK = Path(__file__).with_name("key_services.lock")
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "271828"
KEY_ID = 7

_MAKE_KEY = """
import sys
import pkcs11, pkcs11.util.ec
from pkcs11 import Attribute, KeyType
module, label, pin, key_id, curve = sys.argv[1:]
token = pkcs11.lib(module).get_token(token_label=label)
with token.open(rw=True, user_pin=pin) as session:
    named = {Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters(curve)}
    parameters = session.create_domain_parameters(KeyType.EC, named, local=True)
    parameters.generate_keypair(store=True, id=pkcs11.util.biginteger(int(key_id)), label="k" + key_id)
"""


def libraries() -> Path:
    """A folder with the clients of all services, by hash; made once and kept beside the wheels it was made of."""
    wheels = prepare(LOCK)
    place = wheels.with_name(f"{wheels.name}-installed")
    if not place.is_dir():
        with TemporaryDirectory(dir=wheels.parent, prefix=".loadlock-") as scratch:
            target = Path(scratch) / "installed"
            command = [
                uv_program(), "pip", "install", "--quiet", "--no-config", "--offline", "--no-index", "--find-links",
                str(wheels), "--require-hashes", "--no-deps", "--python", sys.executable, "--target", str(target),
                "--requirement", str(LOCK),
            ]  # fmt: skip
            subprocess.run(command, check=True)
            target.rename(place)
    return place


class Token:
    """A PKCS#11 token with a key pair on P-256 (:data:`KEY_ID`) and one on P-384 (the id after it).

    Args:
        place: an empty directory for it.
        libraries: see :func:`libraries`.
    """

    label = "release keys"
    uri = f"hsm:{KEY_ID}?label=release+keys"

    def __init__(self, place: Path, libraries: Path) -> None:
        configuration = place / "softhsm2.conf"
        (place / "tokens").mkdir()
        configuration.write_text(f"directories.tokendir = {place}/tokens\nobjectstore.backend = file\n")
        self.environ = {"SOFTHSM2_CONF": str(configuration), "PYKCS11LIB": MODULE, "LOADLOCK_KEY_PIN": PIN}
        self._run("softhsm2-util", "--init-token", "--free", "--label", self.label, "--pin", PIN, "--so-pin", "3141592")
        for key_id, curve in ((KEY_ID, "secp256r1"), (KEY_ID + 1, "secp384r1")):
            made = [MODULE, self.label, PIN, str(key_id), curve]
            self._run(sys.executable, "-c", _MAKE_KEY, *made, PYTHONPATH=str(libraries))

    def _run(self, *command: str, **environ: str) -> None:
        subprocess.run(command, env=os.environ | self.environ | environ, check=True, capture_output=True)


class Services:
    """AWS KMS and Vault, as far as signing goes, on one port of the loopback interface.

    Attributes:
        kms: the key of the one, ``awskms:release``.
        vault: the key of the other, ``hv:release/1``.
        hang: set it, and nothing is answered until it is cleared or the services end.
        sabotage: what is done to a signature before it is handed over.
    """

    def __init__(self) -> None:
        self.kms = ec.generate_private_key(ec.SECP256R1())
        self.vault = ed25519.Ed25519PrivateKey.generate()
        self.hang = False
        self.sabotage: Callable[[bytes], bytes] = lambda signature: signature
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Services:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environ(self) -> dict[str, str]:
        """Where the libraries find them, with credentials that nobody checks."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret-of-aws",
            "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true",
            "VAULT_ADDR": url, "VAULT_TOKEN": "secret-of-vault", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def answer(self, method: str, path: str, target: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to one request; None: there is no such thing."""
        if target == "TrentService.GetPublicKey" and asked["KeyId"] == "release":
            spki = self.kms.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return {"KeyId": "release", "PublicKey": _base64(spki), "SigningAlgorithms": ["ECDSA_SHA_256"]}
        if target == "TrentService.Sign" and asked["KeyId"] == "release":
            assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
            signature = self.kms.sign(base64.b64decode(asked["Message"]), ec.ECDSA(Prehashed(hashes.SHA256())))
            return {"KeyId": "release", "Signature": _base64(self.sabotage(signature))}
        if (method, path) == ("GET", "/v1/transit/keys/release"):
            raw = self.vault.public_key().public_bytes_raw()
            return {"data": {"type": "ed25519", "keys": {"1": {"public_key": _base64(raw)}}}}
        if method != "GET" and path == "/v1/transit/sign/release":
            signature = self.vault.sign(base64.b64decode(asked.get("input") or asked["hash_input"]))
            return {"data": {"signature": f"vault:v{asked['key_version']}:{_base64(self.sabotage(signature))}"}}
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _handler(services: Services) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if services.hang:
                services.over.wait(60)
                return
            length = int(self.headers.get("Content-Length") or 0)
            asked = json.loads(self.rfile.read(length) or b"{}")
            answer = services.answer(self.command, self.path, self.headers.get("X-Amz-Target", ""), asked)
            unknown = {"__type": "NotFoundException", "message": "no such key", "errors": ["no such key"]}
            body = json.dumps(unknown if answer is None else answer).encode()
            self.send_response(400 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET  # noqa: N815 - named by the standard library

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
