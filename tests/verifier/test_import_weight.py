"""What importing the verifier costs a host: in a clean process, no network code and no library that it may not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project.tree import ROOT, modules

HEAVY = {
    "asyncio",
    "attestor",
    "crl_server",
    "fastapi",
    "http.client",
    "http.server",
    "loadlock",
    "multiprocessing",
    "pydantic",
    "requests",
    "rich",
    "securesystemslib",
    "sigstore",
    "sqlmodel",
    "sqlalchemy",
    "ssl",
    "tuf",
    "urllib.request",
    "urllib3",
}
"""What only some of the verifier's work needs, and is imported where that work is done. The module socket alone is not
among it: importlib.metadata brings it, by way of email.utils, and nothing that connects anywhere."""

NETWORK = {
    "verifier.installed.sync",
    "verifier.refreshing.bounded",
    "verifier.refreshing.no_answer",
    "verifier.refreshing.poll",
    "verifier.refreshing.fork_safe",
    "verifier.refreshing.push",
    "verifier.refreshing.refresh",
    "verifier.refreshing.sets",
    "verifier.refreshing.transport",
}
"""Modules on the way to the network: nobody gets them by importing another one."""
TUF = {"verifier.deployment.tuf_chain", "verifier.deployment.tuf_client"}
"""Modules that speak TUF: imported by those above, and by verify_trust when it is called."""

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules("verifier")
)


def loaded_by(*names: str) -> set[str]:
    """The modules of a fresh interpreter after importing ``names``; -I keeps the environment out."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); [__import__(name) for name in {names!r}]; print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_importing_everything_light_loads() -> None:
    light = [name for name in MODULES if name not in NETWORK | TUF]
    loaded = loaded_by(*light)
    assert set(light) <= loaded
    assert loaded & HEAVY == set()
    assert loaded & (NETWORK | TUF) == set()


@pytest.mark.parametrize("name", ["verifier", "verifier.errors", "verifier.codes"])
def test_the_package_itself_costs_next_to_nothing(name: str) -> None:
    assert loaded_by(name) & (HEAVY | {"cryptography", "msgspec", "packaging", "socket"}) == set()


def test_the_formats_need_no_cryptography() -> None:
    formats = [name for name in MODULES if name.startswith("verifier.formats")]
    assert len(formats) > 8
    assert "cryptography" not in loaded_by(*formats)
    assert loaded_by(*formats) & HEAVY == set()


def test_the_check_itself_would_notice() -> None:
    assert "http.client" in loaded_by("http.client")
