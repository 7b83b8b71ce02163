"""Locked dependencies through the gate: from the host's wheelhouse, from memory, for each plugin the very wheel."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.metadata
import importlib.resources
import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of, in_fresh_process
from verifier.errors import PluginFailed, PluginRevoked, Refused
from verifier.formats.strict_json import dumps
from verifier.gate import Plugin
from verifier.judging.decide import Request

USES = {PACKAGE: "import leftpad\n\ndef hello():\n    return leftpad.VERSION\n"}
OTHER = {"other_plugin/__init__.py": "import leftpad\n\ndef hello():\n    return leftpad.VERSION\n"}


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    before = set(sys.modules)
    with HostedDeployment(tmp_path) as deployment:
        yield deployment
    assert not [name for name in set(sys.modules) - before if name.startswith(("leftpad", "deeper", "shared_ns"))]


@pytest.fixture
def leftpad(hosted: HostedDeployment) -> Path:
    return hosted.dependency("leftpad")


def hello(plugin: Plugin) -> object:
    return plugin.entry_point("exporters", "hello")()


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_without_its_wheel_it_is_refused(hosted: HostedDeployment, leftpad: Path) -> None:
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    data = leftpad.read_bytes()
    leftpad.unlink()
    assert code_of(lambda: hosted.gate().load(wheel)) == "dependency.unavailable"
    leftpad.write_bytes(data + b"\0")
    assert code_of(lambda: hosted.gate().load(wheel)) == "dependency.unavailable"
    leftpad.unlink()
    leftpad.parent.rmdir()
    assert code_of(lambda: hosted.gate().load(wheel)) == "dependency.unavailable"
    leftpad.parent.write_bytes(b"")
    assert code_of(lambda: hosted.gate().load(wheel)) == "io.failed"


def test_a_wheelhouse_elsewhere_does_not_fall_back_on_the_hosts(hosted: HostedDeployment, leftpad: Path) -> None:
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    empty = hosted.gate(wheelhouse=hosted.wheels)
    assert code_of(lambda: empty.load(wheel)) == "dependency.unavailable"
    assert hello(hosted.gate(wheelhouse=leftpad.parent).load(wheel)) == "1.0"


def test_a_revoked_dependency_is_refused(hosted: HostedDeployment, leftpad: Path) -> None:
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    hosted.revoke(leftpad)
    hosted.refresh()
    assert code_of(lambda: hosted.gate().load(wheel)) == "revoked.dependency"


def test_a_dependency_is_imported_as_long_as_one_plugin_that_locks_it_may_run(
    hosted: HostedDeployment, leftpad: Path
) -> None:
    gate = hosted.gate()
    one = gate.load(hosted.plugin(USES, locks=[leftpad]))
    two = gate.load(hosted.plugin(OTHER, name="other-plugin", locks=[leftpad]))
    one.revoke("")
    assert importlib.util.find_spec("leftpad") is not None
    two.revoke("")
    assert code_of(lambda: importlib.import_module("leftpad")) == "plugin.revoked"
    assert "leftpad" not in sys.modules


def test_a_dependency_that_is_revoked_while_it_runs_stops_every_plugin_that_locks_it(
    hosted: HostedDeployment, leftpad: Path
) -> None:
    told: list[str] = []
    gate = hosted.gate(on_revoked=lambda plugin, error: told.append(plugin.facts.plugin_id))
    first = gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    second = gate.load(hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[leftpad]))
    assert (hello(first), hello(second)) == ("1.0", "1.0")
    hosted.revoke(leftpad)
    gate.refresh()
    assert sorted(told) == ["other_plugin", "sample_plugin"]
    for plugin in (first, second):
        with pytest.raises(PluginRevoked) as caught:
            hello(plugin)
        assert "revoked.dependency" in caught.value.found
        assert "leftpad" in caught.value.found


def test_a_rule_about_a_dependency_stops_what_runs(hosted: HostedDeployment, leftpad: Path) -> None:
    gate = hosted.gate()
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    plugin = gate.load(wheel)
    rule = {
        "id": "R1",
        "kind": "component",
        "match": {"purl": "pkg:pypi/leftpad", "range": "<2"},
        "reason": "vulnerability",
    }
    document = dumps({"v": 1, "rules": [rule]})
    hosted.sim.revoked.append(f"sha256:{'1' * 64}")  # something else, with which the list goes on
    hosted.publish_head(rules={"sha256": hosted.sim.lists.keep("rules", document), "count": 1})
    gate.refresh()
    with pytest.raises(PluginRevoked) as caught:
        hello(plugin)
    assert "rule.matched" in caught.value.found
    assert code_of(lambda: hosted.gate().load(wheel)) == "rule.matched"


def test_two_plugins_that_lock_different_wheels_of_one_name_do_not_fit_into_one_process(
    hosted: HostedDeployment, leftpad: Path
) -> None:
    gate, newer = hosted.gate(), hosted.dependency("leftpad", version="2.0")
    first = gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    wheel = hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[newer])
    with pytest.raises(Refused) as caught:
        gate.load(wheel)
    error = caught.value
    assert error.code == "dependency.conflict"
    assert "leftpad 1.0, sha256:" in error.found
    assert "sample-plugin" in error.found
    assert "leftpad 2.0, sha256:" in error.expected
    assert "'process' or 'sandbox'" in error.todo
    assert gate.plugins == (first,)
    assert hello(first) == "1.0"
    assert "other_plugin" not in sys.modules


def test_one_distribution_in_two_versions_without_a_common_module(hosted: HostedDeployment, leftpad: Path) -> None:
    # importlib.metadata could answer with one version only.
    gate, newer = hosted.gate(), hosted.dependency("leftpad", {"leftpad_renamed.py": ""}, version="2.0")
    gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    wheel = hosted.plugin(name="other-plugin", requires=["leftpad"], locks=[newer])
    assert code_of(lambda: gate.load(wheel)) == "dependency.conflict"


def test_one_import_name_in_two_distributions(hosted: HostedDeployment, leftpad: Path) -> None:
    gate, fork = hosted.gate(), hosted.dependency("leftpad-fork", {"leftpad.py": "VERSION = 'fork'\n"})
    gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    wheel = hosted.plugin(OTHER, name="other-plugin", requires=["leftpad-fork"], locks=[fork])
    assert code_of(lambda: gate.load(wheel)) == "dependency.conflict"
    both = hosted.plugin(USES, version="1.1", requires=["leftpad"], locks=[leftpad, fork])
    hosted.unload()
    assert code_of(lambda: hosted.gate().load(both)) == "dependency.conflict"


def test_a_dependency_cannot_take_the_plugins_own_modules(hosted: HostedDeployment) -> None:
    evil = hosted.dependency("evil", {PACKAGE: "def hello(): return 'evil'\n"})
    wheel = hosted.plugin(locks=[evil])
    assert code_of(lambda: hosted.gate().load(wheel)) == "dependency.conflict"


def test_a_plugin_is_nobodys_dependency(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    base = hosted.plugin(name="other-plugin")
    (hosted.directory / "wheels").mkdir()
    copy = hosted.directory / "wheels" / base.name
    copy.write_bytes(base.read_bytes())
    wheel = hosted.plugin(requires=["other-plugin"], locks=[copy])
    gate.load(base)
    assert code_of(lambda: gate.load(wheel)) == "dependency.conflict"
    hosted.unload()
    gate = hosted.gate()
    gate.load(wheel)
    assert code_of(lambda: gate.load(base)) == "dependency.conflict"


def test_what_the_host_has_imported_already(
    hosted: HostedDeployment, leftpad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    theirs = ModuleType("leftpad")
    theirs.__file__ = "/host/leftpad.py"
    monkeypatch.setitem(sys.modules, "leftpad", theirs)
    gate = hosted.gate()
    with pytest.raises(Refused) as caught:
        gate.load(wheel)
    error = caught.value
    assert error.code == "dependency.conflict"
    assert "/host/leftpad.py" in error.found
    assert "leftpad 1.0, sha256:" in error.expected
    assert "host_provided" in error.todo
    assert sys.modules["leftpad"] is theirs
    assert gate.plugins == ()


@pytest.mark.parametrize("what", ["module", "metadata"])
def test_what_the_host_could_import_itself(
    hosted: HostedDeployment, leftpad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    if what == "module":
        (packages / "leftpad.py").write_text("VERSION = 'of the host'\n")
    else:
        (packages / "leftpad-1.0.dist-info").mkdir()
        (packages / "leftpad-1.0.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: leftpad\nVersion: 0.9\n"
        )
    monkeypatch.syspath_prepend(str(packages))
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    with pytest.raises(Refused) as caught:
        hosted.gate().load(wheel)
    assert caught.value.code == "dependency.conflict"
    assert "host_provided" in caught.value.todo


@pytest.mark.parametrize("code", ["wheel.unsupported"])
def test_a_dependency_for_another_interpreter(hosted: HostedDeployment, code: str) -> None:
    from tests.wheels import build_wheel

    house = hosted.directory / "wheels"
    house.mkdir()
    made = build_wheel({"leftpad.py": ""}, name="leftpad", tag="cp27-cp27m-manylinux1_i686")
    (house / made.file_name).write_bytes(made.data)
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[house / made.file_name])
    gate = hosted.gate()
    gate.verify(wheel)
    assert code_of(lambda: gate.load(wheel)) == code
    assert "leftpad" not in sys.modules


def test_a_hook_that_serves_another_module_in_a_dependencys_place(hosted: HostedDeployment, leftpad: Path) -> None:
    class Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        active = False

        def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(fullname, self) if self.active and fullname == "leftpad" else None

        def exec_module(self, module: ModuleType) -> None:
            module.VERSION = "evil"  # type: ignore[attr-defined]

    hook = Hook()
    takes_over = f"import sys\n\nsys.meta_path.insert(0, sys._hook_of_a_test)\n{USES[PACKAGE]}"
    wheel = hosted.plugin({PACKAGE: takes_over}, requires=["leftpad"], locks=[leftpad])
    plugin = hosted.gate().load(wheel)
    hook.active = True
    sys._hook_of_a_test = hook  # type: ignore[attr-defined]
    try:
        assert code_of(lambda: hello(plugin)) == "wheel.shadowing"
    finally:
        del sys._hook_of_a_test  # type: ignore[attr-defined]
        sys.meta_path.remove(hook)
        sys.modules.pop("leftpad", None)


def test_a_dependency_that_fails_to_import_is_the_plugins_failure(hosted: HostedDeployment) -> None:
    broken = hosted.dependency("leftpad", {"leftpad.py": "raise SystemExit('no')\n"})
    plugin = hosted.gate().load(hosted.plugin(USES, requires=["leftpad"], locks=[broken]))
    with pytest.raises(PluginFailed):
        hello(plugin)
    assert "sample_plugin" not in sys.modules
    assert "leftpad" not in sys.modules


def test_no_other_module_of_the_dependencys_name_is_searched(
    hosted: HostedDeployment, leftpad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = {PACKAGE: "import deeper.unattested\n"}
    locked = hosted.dependency("deeper", {"deeper/__init__.py": ""})
    plugin = hosted.gate().load(hosted.plugin(asks, requires=["deeper"], locks=[locked]))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "unattested.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginFailed) as caught:
        plugin.module("sample_plugin")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


# -- whose is it -------------------------------------------------------------------------------------------------------


def test_one_plugin_does_not_provide_for_another(hosted: HostedDeployment, leftpad: Path) -> None:
    gate = hosted.gate()
    gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    assert importlib.metadata.version("leftpad") == "1.0"
    wheel = hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], host_provided=["leftpad"])
    assert code_of(lambda: gate.load(wheel)) == "dependency.missing"
    assert code_of(lambda: gate.load(hosted.plugin(name="other-plugin", host_provided=["sample-plugin"]))) == (
        "dependency.missing"
    )


def test_unless_the_host_says_so(hosted: HostedDeployment, leftpad: Path) -> None:
    gate = hosted.gate(request=Request(provided=importlib.metadata.version))
    gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    wheel = hosted.plugin(
        OTHER, name="other-plugin", requires=["leftpad"], host_provided=["leftpad"], sdk_allowlist=["attrs", "leftpad"]
    )
    assert hello(gate.load(wheel)) == "1.0"


def test_a_call_into_a_dependency_is_the_callers(hosted: HostedDeployment, caplog: pytest.LogCaptureFixture) -> None:
    logs = hosted.dependency("leftpad", {"leftpad.py": "import logging\n\ndef tell():\n    logging.error('pad')\n"})
    told = "import leftpad\n\ndef hello():\n    leftpad.tell()\n"
    gate = hosted.gate()
    first = gate.load(hosted.plugin({PACKAGE: told}, requires=["leftpad"], locks=[logs]))
    second = gate.load(
        hosted.plugin({"other_plugin/__init__.py": told}, name="other-plugin", requires=["leftpad"], locks=[logs])
    )
    with caplog.at_level(logging.ERROR):
        hello(first)
        hello(second)
    assert [record.__dict__["plugin_id"] for record in caplog.records] == ["sample_plugin", "other_plugin"]


# -- what works --------------------------------------------------------------------------------------------------------


def test_a_whole_set_is_served_from_memory(hosted: HostedDeployment) -> None:
    deeper = hosted.dependency(
        "deeper",
        {"deeper/__init__.py": "", "deeper/data.txt": "from memory\n", "deeper/lazy.py": "VALUE = 'lazily'\n"},
    )
    leftpad = hosted.dependency("leftpad", {"leftpad.py": "import deeper\n"}, requires=["deeper>=1"])
    code = (
        "import importlib.metadata, importlib.resources, inspect\nimport leftpad\n\ndef hello():\n"
        "    import deeper.lazy\n"
        "    text = importlib.resources.files('deeper').joinpath('data.txt').read_text()\n"
        "    return text, deeper.lazy.VALUE, importlib.metadata.version('deeper'), inspect.getsource(leftpad)\n"
    )
    wheel = hosted.plugin({PACKAGE: code}, requires=["leftpad"], locks=[leftpad, deeper])
    gate = hosted.gate()
    plugin = gate.load(wheel)
    for path in (leftpad, deeper, wheel):
        path.unlink()
    assert hello(plugin) == ("from memory\n", "lazily", "1.0", "import deeper\n")
    first, second = plugin.facts.dependencies
    assert (first.name, second.name) == ("deeper", "leftpad")
    assert sys.modules["deeper"].__file__ == f"loadlock:{first.digest[:23]}/deeper/__init__.py"


LAZY = """
import importlib.util, sys

def lazily(name):
    spec = importlib.util.find_spec(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

deeper = lazily("deeper")
own = lazily("sample_plugin.own")

def __getattr__(name):
    if name == "late":
        import leftpad
        return leftpad.VERSION
    raise AttributeError(name)

def hello():
    import sample_plugin
    before = [name in sys._ran_in_a_test for name in ("deeper", "own")]
    return before, deeper.VALUE, own.VALUE, sample_plugin.late
"""


def test_lazy_loading(hosted: HostedDeployment, leftpad: Path) -> None:
    ran: list[str] = []
    sys._ran_in_a_test = ran  # type: ignore[attr-defined]
    says = "import sys\nsys._ran_in_a_test.append({0!r})\nVALUE = {0!r}\n"
    deeper = hosted.dependency("deeper", {"deeper.py": says.format("deeper")})
    wheel = hosted.plugin({PACKAGE: LAZY, "sample_plugin/own.py": says.format("own")}, locks=[deeper, leftpad])
    try:
        plugin = hosted.gate().load(wheel)
        plugin.module("sample_plugin")
        assert "leftpad" not in sys.modules
        assert hello(plugin) == ([False, False], "deeper", "own", "1.0")
        assert ran == ["deeper", "own"]
        assert plugin.module("sample_plugin.own").VALUE == "own"
    finally:
        del sys._ran_in_a_test  # type: ignore[attr-defined]


def test_the_same_wheel_is_shared_and_goes_with_its_last_user(hosted: HostedDeployment, leftpad: Path) -> None:
    gate = hosted.gate()
    first = gate.load(hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]))
    second = gate.load(hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[leftpad]))
    assert (hello(first), hello(second)) == ("1.0", "1.0")
    assert first.facts.dependencies[0] is second.facts.dependencies[0]
    module = sys.modules["leftpad"]
    first._registration.unregister()
    assert sys.modules["leftpad"] is module
    assert importlib.metadata.version("leftpad") == "1.0"
    second._registration.unregister()
    assert "leftpad" not in sys.modules
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("leftpad")


def test_a_namespace_across_plugin_and_dependencies(hosted: HostedDeployment) -> None:
    one = hosted.dependency("ns-one", {"shared_ns/one.py": "VALUE = 1\n", "shared_ns/one.txt": "1"})
    two = hosted.dependency("ns-two", {"shared_ns/two.py": "VALUE = 2\n"})
    code = (
        "import pkgutil\nimport shared_ns, shared_ns.one, shared_ns.two, shared_ns.own\n\ndef hello():\n"
        "    listed = sorted(found.name for found in pkgutil.iter_modules(shared_ns.__path__))\n"
        "    return shared_ns.one.VALUE + shared_ns.two.VALUE + shared_ns.own.VALUE, listed\n"
    )
    wheel = hosted.plugin({PACKAGE: code, "shared_ns/own.py": "VALUE = 4\n"}, locks=[one, two])
    assert hello(hosted.gate().load(wheel)) == (7, ["one", "own", "two"])


def test_a_namespace_that_grows_when_another_plugin_is_loaded(hosted: HostedDeployment) -> None:
    one = hosted.dependency("ns-one", {"shared_ns/one.py": "", "shared_ns/one.txt": "1"})
    two = hosted.dependency("ns-two", {"shared_ns/two.py": "", "shared_ns/two.txt": "2"})
    gate = hosted.gate()
    hello(gate.load(hosted.plugin({PACKAGE: "import shared_ns.one\ndef hello(): ...\n"}, locks=[one])))
    code = {"other_plugin/__init__.py": "import shared_ns.two\ndef hello(): ...\n"}
    hello(gate.load(hosted.plugin(code, name="other-plugin", locks=[two])))
    files = importlib.resources.files("shared_ns")
    assert sorted(path.name for path in files.iterdir()) == ["one.py", "one.txt", "two.py", "two.txt"]


def test_plugins_with_a_common_dependency_load_in_parallel(hosted: HostedDeployment, leftpad: Path) -> None:
    gate = hosted.gate()
    wheels = [
        hosted.plugin(USES, requires=["leftpad"], locks=[leftpad]),
        hosted.plugin(OTHER, name="other-plugin", requires=["leftpad"], locks=[leftpad]),
    ]
    said: list[object] = []
    barrier = threading.Barrier(8)

    def load(wheel: Path) -> None:
        barrier.wait()
        said.append(hello(gate.load(wheel)))

    threads = [threading.Thread(target=load, args=(wheels[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["1.0"] * 8
    assert len(gate.plugins) == 2


def test_a_new_process_with_a_cache_loads_the_same(hosted: HostedDeployment, leftpad: Path, tmp_path: Path) -> None:
    wheel = hosted.plugin(USES, requires=["leftpad"], locks=[leftpad])
    script = (
        "import sys\nfrom verifier import Gate\n"
        "gate = Gate.open(sys.argv[1], cache=sys.argv[3])\n"
        "print(gate.load(sys.argv[2]).entry_point('exporters', 'hello')())\n"
    )
    assert [in_fresh_process(script, hosted.directory, wheel, tmp_path / "cache") for _ in range(2)] == ["1.0", "1.0"]
