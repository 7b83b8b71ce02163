"""Extension modules from sealed memory, with real ones of this environment under names of the tests' own."""

from __future__ import annotations

import importlib.machinery
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verifier.importing.children import start_child
from tests.verifier.importing.conftest import compiled, snapshot_of
from tests.wheels import build_wheel
from verifier.importing.modules import Modules

Child = Callable[..., str]
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
C, RUST = compiled("markupsafe._speedups"), compiled("rpds.rpds")
PLUGIN: dict[str, str | bytes] = {
    "sample_c/__init__.py": "",
    f"sample_c/_speedups{SUFFIX}": C,
    "sample_c/data.txt": "data",
}
OTHER: dict[str, str | bytes] = {
    "sample_rust/__init__.py": "from .rpds import HashTrieMap\n",
    f"sample_rust/rpds{SUFFIX}": RUST,
}


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n", C[:200], b"\x7fELF" + bytes(5000)])
def test_no_library(content: bytes, child: Child) -> None:
    code = """
try:
    plugins[0].import_module("sample_c._speedups")
except Refused as refusal:
    print(refusal.code, "sample_c._speedups" in sys.modules, "sample_c" in sys.modules)
"""
    assert child(code, {**PLUGIN, f"sample_c/_speedups{SUFFIX}": content}) == "wheel.unsupported False False\n"


def test_refusal_cannot_be_taken_for_a_missing_module(child: Child) -> None:
    code = """
try:
    plugins[0].import_module("sample_c")
except Refused as refusal:
    print(refusal.code)
"""
    init = "try:\n    from ._speedups import _escape_inner\nexcept ImportError:\n    pass\n"
    assert (
        child(code, {"sample_c/__init__.py": init, f"sample_c/_speedups{SUFFIX}": b"\x7fELF"}) == "wheel.unsupported\n"
    )


def test_module_of_another_name(child: Child) -> None:
    code = """
try:
    plugins[0].import_module("sample_c.renamed")
except PluginFailed as failure:
    print(failure.code, "PyInit_renamed" in failure.found)
"""
    assert child(code, {"sample_c/__init__.py": "", f"sample_c/renamed{SUFFIX}": C}) == "plugin.failed True\n"


def test_attack_2_library_swapped_before_it_is_loaded(child: Child) -> None:
    code = """
import os, pathlib
from verifier.importing.sealed import sealed_path
pathlib.Path(sys.argv[2]).write_bytes(b"evil")
files = plugins[0].snapshot.files
(path,) = (path for path in files if path.endswith(".so"))
place = sealed_path((plugins[0].snapshot.digest, path), lambda made: os.write(made, files[path]))
try:
    os.pwrite(os.open(place, os.O_RDWR), b"evil", 0)
except PermissionError:
    print("sealed", end=" ")
print(plugins[0].import_module("sample_c._speedups")._escape_inner("<"))
"""
    assert child(code, PLUGIN) == "sealed &lt;\n"


def test_attack_2_from_another_process(bare: Path, tmp_path: Path) -> None:
    wheel = build_wheel(PLUGIN)
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    code = """
import os
from verifier.importing.sealed import sealed_path
files = plugins[0].snapshot.files
(path,) = (path for path in files if path.endswith(".so"))
print(sealed_path((plugins[0].snapshot.digest, path), lambda made: os.write(made, files[path])), flush=True)
sys.stdin.readline()
print(plugins[0].import_module("sample_c._speedups")._escape_inner("<"))
"""
    host = start_child(bare, code, [tmp_path / wheel.file_name])
    assert host.stdout is not None
    place = host.stdout.readline().strip().replace("self", str(host.pid))
    descriptor = os.open(place, os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"evil", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)
    output, errors = host.communicate("go on\n", timeout=30)
    assert (output, errors, host.returncode) == ("&lt;\n", "", 0)


# dlopen knows a library by the path that it was opened by: one number, two files, and the first is given again.
REUSE = """
import os
from importlib.machinery import ExtensionFileLoader, ModuleSpec
files = [next(b for p, b in plugin.snapshot.files.items() if p.endswith(".so")) for plugin in plugins]

def naive(name, content):
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    path = f"/proc/self/fd/{descriptor}"
    try:
        return ExtensionFileLoader(name, path).create_module(ModuleSpec(name, None, origin=path)), path
    finally:
        os.close(descriptor)
"""


def test_attack_3_is_real(child: Child) -> None:
    code = """
_, first = naive("sample_c._speedups", files[0])
try:
    naive("sample_rust.rpds", files[1])
except ImportError as error:
    print(error.path == first, "PyInit_rpds" in str(error))
"""
    assert child(REUSE + code, PLUGIN, OTHER) == "True True\n"


def test_attack_3_numbers_used_again(child: Child) -> None:
    code = """
speedups = plugins[0].import_module("sample_c._speedups")
os.closerange(3, 256)
for _ in range(16):
    os.open("/dev/null", os.O_RDONLY)
os.closerange(3, 256)
rust = plugins[1].import_module("sample_rust")
print(speedups._escape_inner("<"), rust.HashTrieMap({"a": 1})["a"])
"""
    assert child(REUSE + code, PLUGIN, OTHER) == "&lt; 1\n"


def test_what_a_module_says_of_itself(child: Child) -> None:
    code = """
import importlib, importlib.resources, inspect
module = plugins[0].import_module("sample_c._speedups")
root = plugins[0].import_module("sample_c").__path__[0]
assert module.__file__ == module.__spec__.origin == f"{root}/_speedups{SUFFIX}", module.__file__
assert module.__spec__.has_location and module.__loader__ is module.__spec__.loader
assert module.__loader__.get_code("sample_c._speedups") is module.__loader__.get_source("sample_c._speedups") is None
assert module.__package__ == "sample_c"
assert importlib.resources.files("sample_c").joinpath("data.txt").read_text() == "data"
assert importlib.reload(module) is module
try:
    inspect.getsource(module)
except OSError:
    print("ok")
""".replace("{SUFFIX}", SUFFIX)
    assert child(code, PLUGIN) == "ok\n"


def test_modules_have_an_owner(child: Child) -> None:
    code = """
from verifier.importing import owner_of
module = plugins[0].import_module("sample_c._speedups")
print(owner_of(vars(module)) is plugins[0].owner)
"""
    assert child(code, PLUGIN) == "True\n"


def test_loaded_again_after_it_was_unregistered(child: Child) -> None:
    code = """
import os
plugins[0].import_module("sample_c._speedups")
before = len(os.listdir("/proc/self/fd"))
plugins[0].unregister()
again = serve(sys.argv[2])
print(again.import_module("sample_c._speedups")._escape_inner("<"), len(os.listdir("/proc/self/fd")) - before)
"""
    assert child(code, PLUGIN) == "&lt; 0\n"


def test_forked_child(child: Child) -> None:
    code = """
import os
module = plugins[0].import_module("sample_c._speedups")
process = os.fork()
if process == 0:
    ok = module._escape_inner("<") == "&lt;" and plugins[1].import_module("sample_rust").HashTrieMap
    os._exit(7 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
    assert child(code, PLUGIN, OTHER) == "7\n"


def test_threads(child: Child) -> None:
    code = """
import threading
names = ["sample_c._speedups", "sample_rust"] * 8
barrier, seen = threading.Barrier(len(names)), []
def load(number):
    barrier.wait()
    seen.append(plugins[number % 2].import_module(names[number]).__name__)
threads = [threading.Thread(target=load, args=(number,)) for number in range(len(names))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sorted(seen) == sorted(names))
"""
    assert child(code, PLUGIN, OTHER) == "True\n"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["m.py", f"m{SUFFIX}"], f"m{SUFFIX}"),
        ([f"m{SUFFIX}", "m.py"], f"m{SUFFIX}"),
        (["m.so", f"m{SUFFIX}", "m.abi3.so"], f"m{SUFFIX}"),
        (["m.abi3.so", "m.so"], "m.abi3.so"),
        ([f"m{SUFFIX}", "m/__init__.py"], "m/__init__.py"),
        (["m/__init__.py", f"m/__init__{SUFFIX}"], f"m/__init__{SUFFIX}"),
        (["m.py", "m.cpython-27-x86_64-linux-gnu.so", "m.pyd", "m.dylib"], "m.py"),
    ],
)
def test_precedence_is_that_of_a_plain_import(files: list[str], kind: str, tmp_path: Path) -> None:
    modules = Modules(snapshot_of({f"sample_plugin/{file}": b"" for file in files}))
    assert modules.sources["sample_plugin.m"].path == f"sample_plugin/{kind}"
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    found = importlib.machinery.PathFinder.find_spec("m", [str(tmp_path)])
    assert found is not None
    assert found.origin == str(tmp_path / kind)


def test_compiled_code_for_others_is_data() -> None:
    files = {
        "sample_plugin/a.pyd": b"",
        "sample_plugin/b.dll": b"",
        "sample_plugin/c.cpython-27-x86_64-linux-gnu.so": b"",
    }
    modules = Modules(snapshot_of({"sample_plugin/__init__.py": b"", **files}))
    assert modules.compiled == []
    assert list(modules.sources) == ["sample_plugin"]
