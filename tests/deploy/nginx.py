"""Debian's nginx, run with a configuration as it is shipped, its changes made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# python-tuf's client judges by the machine's clock, so what is behind it is made now.
NOW = datetime.now(UTC).replace(microsecond=0)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loadlock.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


class Nginx:
    """nginx with one shipped configuration.

    Args:
        directory: for its own files.
        configuration: the shipped one.
        port: where it listens.
        changes: what stands there once, and what stands in its place here.
    """

    def __init__(self, directory: Path, configuration: Path, port: int, changes: Mapping[str, str]) -> None:
        chain, private = certificate(directory)
        self.url = f"https://127.0.0.1:{port}"
        self.chain = chain
        common = {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/loadlock/fullchain.pem": str(chain),
            "/etc/ssl/private/loadlock.pem": str(private),
        }
        text = configuration.read_text("utf-8")
        for old, new in (common | dict(changes)).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (directory / "site.conf").write_text(text)
        temporary = "".join(
            f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""  # the directories of tests are their owner's alone
        self._main = directory / "nginx.conf"
        self._main.write_text(
            f"{user}daemon off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}include {directory}/site.conf;\n}}\n"
        )
        self.log = directory / "error.log"
        self.pool = urllib3.PoolManager(ca_certs=str(chain), retries=urllib3.Retry(connect=50, backoff_factor=0.02))

    def __enter__(self) -> Nginx:
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert program, "nginx is missing: see tools/system_packages.sh"
        self._process = subprocess.Popen([program, "-c", str(self._main)], stderr=subprocess.DEVNULL)
        self.pool.request("GET", f"{self.url}/")
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.clear()
        self._process.terminate()
        self._process.wait(20)

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", f"{self.url}/{path}", headers=headers, redirect=False)
