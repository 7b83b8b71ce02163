"""Where there is neither fork nor sealed memory nor a lock of files: pure wheels load, the rest is refused with words.

The system is made to lack what others lack. Nothing here has run on such a system.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, in_fresh_process
from tests.project.tree import ROOT, modules

LACKING = """
import os, sys
import ctypes, subprocess, tempfile, uuid, multiprocessing.util  # what the interpreter itself does is not the question
from cryptography.hazmat.primitives.asymmetric import ec
sys.modules["fcntl"] = None
for name in ("memfd_create", "register_at_fork", "fork", "fchmod", "O_DIRECTORY", "O_NONBLOCK", "MFD_CLOEXEC",
             "MFD_ALLOW_SEALING"):
    delattr(os, name)
sys.platform = "win32"
os.name = "nt"
import verifier.installed.content, verifier.private_cache  # these two look at it when they are imported
os.name = "posix"  # pathlib looks at it each time
"""
LOAD = (
    LACKING
    + """
from verifier import Gate, LoadlockError

gate = Gate.open(sys.argv[1])
for wheel in sys.argv[2:]:
    try:
        print(gate.load(wheel).entry_point("exporters", "hello")())
    except LoadlockError as error:
        print(error.code, "-", error.what)
try:
    gate.refresh()
except LoadlockError as error:
    print(error.code, "-", error.what)
"""
)


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def test_everything_can_be_imported() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules("verifier")
        if path.stem not in {"spans", "pluggy", "stevedore"}  # what these import has its own ways
    ]
    assert "verifier.importing.sealed" in names
    imports = "\n".join(f"import {name}" for name in names)
    # Libraries are imported before: what they do elsewhere is not the question either.
    assert in_fresh_process(f"import tuf.ngclient, urllib3\n{LACKING}{imports}\nprint('ok')") == "ok"


def test_pure_wheels_load_and_the_rest_is_refused_with_words(hosted: HostedDeployment) -> None:
    pure = hosted.plugin()
    compiled = hosted.plugin(
        {"other_plugin/fast.abi3.so": "nothing"}, name="other-plugin", folder="compiled",
        entry_points={"exporters": {"hello": "other_plugin:hello"}},
    )  # fmt: skip
    told = in_fresh_process("import tuf.ngclient, urllib3\n" + LOAD, hosted.directory, pure, compiled).splitlines()
    assert told[0] == "hello"
    assert told[1].startswith(
        "wheel.unsupported - the wheel holds compiled code, which can be loaded from memory on Linux"
    )
    assert told[2].startswith("io.failed - this system has no locks of files")
