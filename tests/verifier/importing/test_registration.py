"""What registering and importing refuse, and what a failure leaves behind."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.verifier.importing.conftest import Make, snapshot_of
from verifier.errors import PluginFailed, Refused
from verifier.importing import register

PLUGIN = {"sample_plugin/__init__.py": "VALUE = 1\n", "sample_plugin/sub.py": "VALUE = 2\n"}


def refused(code: str, modules: Mapping[str, str | bytes], **fields: object) -> Refused:
    meta_path = list(sys.meta_path)
    with pytest.raises(Refused) as refusal:
        register(snapshot_of(modules, **fields))  # type: ignore[arg-type]
    assert refusal.value.code == code
    assert sys.meta_path == meta_path
    return refusal.value


@pytest.mark.parametrize("path", ["fast.so", "sample_plugin/fast.abi3.so", "sample_plugin/__init__.abi3.so"])
@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_compiled_code_elsewhere_than_on_linux(path: str, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert path in refused("wheel.unsupported", {**PLUGIN, path: b"\x7fELF"}).found


@pytest.mark.parametrize("tag", ["cp27-cp27m-manylinux1_i686", "py2-none-any", "py3-none-win_amd64"])
def test_another_interpreter(tag: str) -> None:
    refused("wheel.unsupported", PLUGIN, tag=tag)


@pytest.mark.parametrize("required", ["<3", ">=4", "!=3.*"])
def test_another_python(required: str) -> None:
    refused("wheel.unsupported", PLUGIN, metadata_lines=[f"Requires-Python: {required}"])


@pytest.mark.parametrize("name", ["sample_plugin", "sample_plugin.sub", "sample_plugin.unheard_of"])
def test_preloaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    refused("plugin.preloaded", PLUGIN)


def test_blocked_name_counts_as_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sample_plugin", None)
    refused("plugin.preloaded", PLUGIN)


@pytest.mark.parametrize(
    "path",
    ["sample_plugin.py", "sample_plugin/__init__.py", "sample_plugin/deep/down/mod.py", "sample_plugin/m.abi3.so"],
)
def test_shadows_the_host(path: str, host: Path) -> None:
    (host / path).parent.mkdir(parents=True, exist_ok=True)
    (host / path).write_text("HOST = True\n")
    refusal = refused("wheel.shadowing", PLUGIN)
    assert str(host)[:40] in refusal.found


def test_shadows_what_only_an_import_hook_of_the_host_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hook(importlib.abc.MetaPathFinder):
        def find_spec(
            self, fullname: str, path: object, target: object = None
        ) -> importlib.machinery.ModuleSpec | None:
            return importlib.machinery.ModuleSpec(fullname, None) if fullname == "sample_plugin" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook()])
    refused("wheel.shadowing", PLUGIN)


def test_directory_without_modules_is_nothing_to_shadow(host: Path, made: Make) -> None:
    (host / "sample_plugin" / "output").mkdir(parents=True)
    (host / "sample_plugin" / "output" / "a.csv").write_text("1,2\n")
    assert made(PLUGIN).import_module("sample_plugin").VALUE == 1


def test_data_directory_claims_no_name(host: Path, made: Make) -> None:
    (host / "docs_of_host.py").write_text("HOST = True\n")
    registration = made({**PLUGIN, "docs_of_host/readme.txt": "hello"})
    assert importlib.import_module("docs_of_host").HOST
    del sys.modules["docs_of_host"]
    with pytest.raises(Refused) as refusal:
        registration.import_module("docs_of_host.readme")
    assert refusal.value.code == "manifest.entry-point"


def test_second_copy_in_the_host(host: Path) -> None:
    info = host / "Sample_Plugin-0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Sample.Plugin\nVersion: 0.9\n")
    refusal = refused("wheel.shadowing", {"another_name.py": ""})
    assert "environment" in refusal.todo


def test_one_owner_for_each_module(made: Make) -> None:
    made(PLUGIN)
    refused("wheel.shadowing", {"sample_plugin/extra.py": ""}, name="other-plugin")
    refused("wheel.shadowing", {"sample_plugin.py": ""}, name="other-plugin")
    refused("wheel.shadowing", {"elsewhere.py": ""}, name="Sample_Plugin")


def test_unattested_submodule_does_not_fall_through(host: Path, made: Make) -> None:
    registration = made(PLUGIN)
    (host / "sample_plugin").mkdir()
    (host / "sample_plugin" / "evil.py").write_text("raise SystemExit('executed')\n")
    importlib.invalidate_caches()
    package = registration.import_module("sample_plugin")
    package.__path__.append(str(host / "sample_plugin"))
    with pytest.raises(ModuleNotFoundError, match=r"verified wheel sample_plugin-1\.0-py3-none-any\.whl") as missing:
        importlib.import_module("sample_plugin.evil")
    assert missing.value.name == "sample_plugin.evil"
    with pytest.raises(Refused) as refusal:
        registration.import_module("sample_plugin.evil")
    assert refusal.value.code == "manifest.entry-point"


@pytest.mark.parametrize("name", ["os", "sample_plugin.ghost", "sample_plugin.", "", "sample_plugin\x1b"])
def test_module_of_another_wheel(name: str, made: Make) -> None:
    with pytest.raises(Refused) as refusal:
        made(PLUGIN).import_module(name)
    assert refusal.value.code == "manifest.entry-point"


@pytest.mark.parametrize("poisoned", ["sample_plugin", "sample_plugin.sub"])
def test_poisoned_sys_modules(poisoned: str, made: Make) -> None:
    registration = made(PLUGIN)
    sys.modules[poisoned] = ModuleType(poisoned)
    sys.modules[poisoned].__path__ = []
    with pytest.raises(Refused) as refusal:
        registration.import_module("sample_plugin.sub")
    assert refusal.value.code == "wheel.shadowing"


def test_import_hook_that_puts_itself_first(made: Make) -> None:
    served: list[str] = []

    class Thief(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(
            self, fullname: str, path: object, target: object = None
        ) -> importlib.machinery.ModuleSpec | None:
            served.append(fullname)
            return importlib.util.spec_from_loader(fullname, self) if fullname.startswith("sample_plugin") else None

    thief = Thief()
    registration = made(PLUGIN)
    sys.meta_path.insert(0, thief)
    try:
        assert registration.import_module("sample_plugin").VALUE == 1
        sys.meta_path.remove(thief)
        sys.meta_path.insert(0, thief)
        assert importlib.import_module("sample_plugin") is registration.import_module("sample_plugin")
        assert registration.import_module("sample_plugin.sub").VALUE == 2
    finally:
        sys.meta_path.remove(thief)
    assert not [name for name in served if name.startswith("sample_plugin")]


def test_module_stays_what_was_first_imported(made: Make) -> None:
    registration = made(PLUGIN)
    module = registration.import_module("sample_plugin")
    sys.modules["sample_plugin"] = ModuleType("sample_plugin")
    assert registration.import_module("sample_plugin") is module


FAILING = {
    "error": "raise ValueError('no luck')",
    "syntax": "def (",
    "null byte": "a = '\0'",
    "encoding": "# coding: nonsense\n",
    "exit": "import sys; sys.exit(0)",
    "base exception": "class Odd(BaseException): pass\nraise Odd",
    "error without words": "class Odd(Exception):\n    def __str__(self): raise SystemError\nraise Odd",
    "control characters": "raise ValueError('\\x1b[31m red')",
    "missing submodule": "import sample_plugin.ghost",
    "missing dependency": "import no_such_module_anywhere",
}


@pytest.mark.parametrize("case", FAILING)
def test_failing_import_leaves_nothing(case: str, made: Make) -> None:
    before = set(sys.modules)
    registration = made(
        {
            "sample_plugin/__init__.py": "import sample_plugin.first, sample_helper\nimport sample_plugin.second\n",
            "sample_plugin/first.py": "",
            "sample_plugin/second.py": FAILING[case],
            "sample_helper.py": "",
        }
    )
    for _ in range(2):
        with pytest.raises(PluginFailed) as failure:
            registration.import_module("sample_plugin")
        assert failure.value.code == "plugin.failed"
        assert failure.value.__cause__ is not None
        assert "\x1b" not in str(failure.value)
        assert not [name for name in set(sys.modules) - before if name.startswith("sample_")]


def test_interrupt_is_not_swallowed(made: Make) -> None:
    registration = made({"sample_plugin.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        registration.import_module("sample_plugin")
    assert "sample_plugin" not in sys.modules


def test_later_failure_leaves_what_was_imported(made: Make) -> None:
    registration = made({**PLUGIN, "sample_plugin/bad.py": "1 / 0"})
    package = registration.import_module("sample_plugin")
    with pytest.raises(PluginFailed):
        registration.import_module("sample_plugin.bad")
    assert sys.modules["sample_plugin"] is package
    assert "sample_plugin.bad" not in sys.modules


def test_unregister(made: Make) -> None:
    registration = made(PLUGIN)
    registration.import_module("sample_plugin.sub")
    registration.unregister()
    registration.unregister()
    assert not [name for name in sys.modules if name.startswith("sample_plugin")]
    with pytest.raises(PluginFailed):
        registration.import_module("sample_plugin")
    again = made(PLUGIN)
    assert again.import_module("sample_plugin.sub").VALUE == 2


def test_namespace_shared_by_two_wheels(made: Make) -> None:
    first = made({"sample_space/one/__init__.py": "", "sample_space/data/one.txt": "1"}, name="first")
    first.import_module("sample_space.one")
    second = made({"sample_space/two.py": "", "sample_space/data/two.txt": "2"}, name="second")
    second.import_module("sample_space.two")
    assert len(sys.modules["sample_space"].__path__) == 2
    second.unregister()
    assert "sample_space.two" not in sys.modules
    assert not hasattr(sys.modules["sample_space"], "two")
    assert len(sys.modules["sample_space"].__path__) == 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sample_space.two")


@pytest.mark.parametrize(
    "other",
    [
        {"sample_space/__init__.py": ""},
        {"sample_space.py": ""},
        {"sample_space/one.py": ""},
        {"sample_space/one/more.py": ""},
        {"sample_space/new.py": "", "sample_space/data/one.txt": "other"},
    ],
)
def test_namespace_that_cannot_be_shared(other: dict[str, str | bytes], made: Make) -> None:
    made({"sample_space/one/__init__.py": "", "sample_space/data/one.txt": "1"}, name="first")
    refused("wheel.shadowing", other, name="second")


def test_threads_import_once(made: Make) -> None:
    registration = made(
        {
            "sample_plugin/__init__.py": "",
            "sample_plugin/slow.py": "import threading, time\nfrom sample_plugin import log\n"
            "log.RUNS.append(threading.get_ident())\ntime.sleep(0.02)\nDONE = True\n",
            "sample_plugin/log.py": "RUNS = []\n",
        }
    )
    barrier, seen = threading.Barrier(16), []

    def load() -> None:
        barrier.wait()
        seen.append(registration.import_module("sample_plugin.slow").DONE)

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 16
    assert len(registration.import_module("sample_plugin.log").RUNS) == 1


def test_only_one_of_many_threads_registers(made: Make) -> None:
    snapshot, barrier = snapshot_of(PLUGIN), threading.Barrier(8)
    won, lost = [], []

    def load() -> None:
        barrier.wait()
        try:
            won.append(register(snapshot))
        except Refused as refusal:
            lost.append(refusal.code)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won[0].unregister()
    assert len(won) == 1
    assert lost == ["wheel.shadowing"] * 7


def test_child_forked_during_an_import_can_import(made: Make) -> None:
    registration = made(
        {
            "sample_plugin/__init__.py": "",
            "sample_plugin/slow.py": "from builtins import sample_gate as gate\ngate[0].set()\ngate[1].wait(10)\n",
            "sample_plugin/other.py": "VALUE = 3\n",
        }
    )
    registration.import_module("sample_plugin")
    entered, leave = threading.Event(), threading.Event()
    import builtins

    builtins.sample_gate = (entered, leave)  # type: ignore[attr-defined]
    thread = threading.Thread(target=registration.import_module, args=("sample_plugin.slow",))
    thread.start()
    entered.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        os._exit(registration.import_module("sample_plugin.other").VALUE)
    leave.set()
    thread.join()
    del builtins.sample_gate  # type: ignore[attr-defined]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
