"""Installed mode: what pip and uv unpacked is held against the attested RECORD, file by file, as it executes."""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.metadata
import importlib.resources
import importlib.util
import marshal
import os
import py_compile
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of
from tests.verifier.installations import install, sync
from verifier.errors import Refused
from verifier.gate import Gate

MODULES = {
    PACKAGE: "from sample_plugin.words import WORD\ndef hello(): return WORD\n",
    "sample_plugin/words.py": "WORD = 'hello'\n",
    "sample_plugin/late.py": "LATE = True\n",
    "sample_plugin/data/greeting.txt": "good day\n",
}
DIST_INFO = "sample_plugin-1.0.dist-info"
EVIL = "import builtins\nbuiltins.loadlock_evil = True\nWORD = 'evil'\n"


class Installed:
    """A host whose environment holds the plugin, and what it takes to load it."""

    def __init__(self, hosted: HostedDeployment, site: Path) -> None:
        self.hosted, self.site = hosted, site

    def gate(self, **options: object) -> Gate:
        """A gate of the host."""
        return self.hosted.gate(**options)

    def path(self, name: str) -> Path:
        """A file of the installed plugin."""
        return self.site / name

    def call(self) -> object:
        """Load the plugin, and call it."""
        return self.gate().load_installed("sample-plugin").entry_point("exporters", "hello")()


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        deployment.policy("tiers.core.assurance", "installed")
        deployment.refresh()
        yield deployment


def put_in(hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch, site: Path, by: str = "uv") -> Installed:
    install(site, hosted.plugin(MODULES), by=by)
    assert [fetched.outcome for fetched in sync(hosted, site)] == ["fetched"]
    monkeypatch.syspath_prepend(str(site))
    return Installed(hosted, site)


@pytest.fixture
def installed(hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    return put_in(hosted, monkeypatch, tmp_path / "site")


@pytest.fixture(autouse=True)
def nothing_evil_ran() -> Iterator[None]:
    yield
    assert not hasattr(builtins, "loadlock_evil")


# -- what is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["pip", "uv"])
def test_an_installed_plugin_is_verified_and_called(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    host = put_in(hosted, monkeypatch, tmp_path / "site", by)
    facts = host.gate().verify_installed("Sample.Plugin")
    assert (facts.plugin_id, facts.assurance, facts.tier) == ("sample_plugin", "installed", "core")
    plugin = host.gate().load_installed("sample-plugin")
    assert plugin.entry_point("exporters", "hello")() == "hello"
    assert plugin.facts.assurance == "installed"
    module = plugin.module("sample_plugin.late")
    assert str(module.__file__).startswith("loadlock:sha256:")


def test_a_wheel_in_memory_is_of_the_other_level(hosted: HostedDeployment) -> None:
    assert hosted.gate().load(hosted.plugin()).facts.assurance == "snapshot"


def test_data_and_metadata_come_from_attested_files(installed: Installed) -> None:
    installed.call()
    assert importlib.resources.files("sample_plugin").joinpath("data/greeting.txt").read_text() == "good day\n"
    assert importlib.metadata.version("sample-plugin") == "1.0"
    assert importlib.metadata.distribution("sample-plugin").read_text("direct_url.json") is None


def test_what_an_installer_adds_to_the_metadata_is_no_metadata(installed: Installed) -> None:
    installed.path(f"{DIST_INFO}/entry_points.txt").write_text("[exporters]\nevil = sample_plugin:evil\n")
    plugin = installed.gate().load_installed("sample-plugin")
    assert code_of(lambda: plugin.entry_point("exporters", "evil")) == "manifest.entry-point"
    assert importlib.metadata.distribution("sample-plugin").read_text("entry_points.txt") is None


def test_the_installed_record_counts_for_nothing(installed: Installed) -> None:
    installed.path(f"{DIST_INFO}/RECORD").write_text("")
    assert installed.call() == "hello"


def test_a_cache_does_not_hide_what_was_changed(installed: Installed, tmp_path: Path) -> None:
    def load() -> object:
        gate = installed.gate(cache=tmp_path / "cache")
        return gate.load_installed("sample-plugin").entry_point("exporters", "hello")()

    assert load() == "hello"
    installed.hosted.unload()
    assert load() == "hello"
    installed.hosted.unload()
    installed.path("sample_plugin/words.py").write_text("WORD = 'HELLO'\n")
    assert code_of(load) == "installed.changed"


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_tier_admits_installed_plugins_only_if_it_says_so(installed: Installed) -> None:
    installed.hosted.policy("tiers.core.assurance", "snapshot")
    installed.hosted.refresh()
    assert code_of(installed.call) == "installed.assurance"


def test_a_tier_that_admits_them_admits_wheels_too(hosted: HostedDeployment) -> None:
    assert hosted.gate().load(hosted.plugin()).entry_point("exporters", "hello")() == "hello"


def test_a_policy_that_admits_it_no_longer_stops_what_runs(installed: Installed) -> None:
    gate = installed.gate()
    plugin = gate.load_installed("sample-plugin")
    installed.hosted.policy("tiers.core.assurance", "snapshot")
    gate.refresh()
    assert plugin.revoked is not None
    assert "installed.assurance" in plugin.revoked


def test_nothing_that_is_not_installed(installed: Installed) -> None:
    assert code_of(lambda: installed.gate().load_installed("other-plugin")) == "installed.unknown"
    for empty in (installed.gate().load_installed, installed.gate().verify_installed):
        assert code_of(lambda empty=empty: empty("")) == "usage.arguments"  # type: ignore[misc]


def test_nothing_that_was_not_synced(installed: Installed) -> None:
    for path in (installed.hosted.directory / "releases").iterdir():
        path.unlink()
    assert code_of(installed.call) == "set.missing"


def test_a_set_that_is_gone(installed: Installed) -> None:
    for path in (installed.hosted.directory / "sets").iterdir():
        path.unlink()
    assert code_of(installed.call) == "set.missing"


def test_a_record_that_is_not_the_attested_one(installed: Installed) -> None:
    (path,) = (installed.hosted.directory / "records").iterdir()
    path.write_bytes(path.read_bytes() + b"sample_plugin/more.py,,\n")
    assert code_of(installed.call) == "manifest.record"


def test_a_revoked_wheel_that_is_installed(installed: Installed) -> None:
    (wheel,) = installed.hosted.wheels.glob("*.whl")
    installed.hosted.revoke(wheel)
    installed.hosted.refresh()
    assert code_of(installed.call) == "revoked.artifact"


def edit(host: Installed) -> None:
    host.path("sample_plugin/words.py").write_text(EVIL)


def same_length(host: Installed) -> None:
    host.path("sample_plugin/words.py").write_text("WORD = 'jello'\n")


def grow(host: Installed) -> None:
    with host.path("sample_plugin/words.py").open("a") as stream:
        stream.write(EVIL)


def remove(host: Installed) -> None:
    host.path("sample_plugin/words.py").unlink()


def link_file(host: Installed) -> None:
    place = host.path("sample_plugin/words.py")
    (host.site.parent / "elsewhere.py").write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(host.site.parent / "elsewhere.py")


def link_package(host: Installed) -> None:
    place = host.path("sample_plugin")
    place.rename(host.site.parent / "elsewhere")
    place.symlink_to(host.site.parent / "elsewhere")


def fifo(host: Installed) -> None:
    host.path("sample_plugin/words.py").unlink()
    os.mkfifo(host.path("sample_plugin/words.py"))


def extra_module(host: Installed) -> None:
    host.path("sample_plugin/more.py").write_text(EVIL)


def extra_extension(host: Installed) -> None:
    host.path(f"sample_plugin/words{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")


def extra_package(host: Installed) -> None:
    host.path("sample_plugin/words").mkdir()
    host.path("sample_plugin/words/__init__.py").write_text(EVIL)


def hidden_deeper(host: Installed) -> None:
    host.path("sample_plugin/more/deeper").mkdir(parents=True)
    host.path("sample_plugin/more/deeper/evil.py").write_text(EVIL)


def sourceless(host: Installed) -> None:
    host.path("evil.py").write_text(EVIL)
    py_compile.compile(str(host.path("evil.py")), cfile=str(host.path("sample_plugin/more.pyc")))
    host.path("evil.py").unlink()


def beside_the_package(host: Installed) -> None:
    host.path("sample_plugin.py").write_text(EVIL)


def metadata(host: Installed) -> None:
    with host.path(f"{DIST_INFO}/METADATA").open("a") as stream:
        stream.write("Requires-Dist: evil\n")


ATTACKS: dict[str, tuple[Callable[[Installed], None], str]] = {
    "edited": (edit, "installed.changed"),
    "edited to the same length": (same_length, "installed.changed"),
    "appended to": (grow, "installed.changed"),
    "removed": (remove, "installed.missing"),
    "a file that is a link": (link_file, "installed.link"),
    "a package that is a link": (link_package, "installed.link"),
    "a pipe": (fifo, "installed.link"),
    "another module": (extra_module, "installed.extra"),
    "an extension that outranks a module": (extra_extension, "installed.extra"),
    "a package that outranks a module": (extra_package, "installed.extra"),
    "a module in a directory of its own": (hidden_deeper, "installed.extra"),
    "bytecode without source": (sourceless, "installed.extra"),
    "a module of the package's name": (beside_the_package, "installed.extra"),
    "metadata": (metadata, "installed.changed"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_was_done_to_installed_files_is_refused(installed: Installed, attack: str) -> None:
    change, code = ATTACKS[attack]
    change(installed)
    with pytest.raises(Refused) as caught:
        installed.gate().verify_installed("sample-plugin")
    assert (caught.value.code, caught.value.step) == (code, 6)
    assert code_of(installed.call) == code
    assert "sample_plugin" not in sys.modules


def test_a_change_after_loading_is_refused_when_the_file_is_used(installed: Installed) -> None:
    plugin = installed.gate().load_installed("sample-plugin")
    assert plugin.entry_point("exporters", "hello")() == "hello"
    installed.path("sample_plugin/late.py").write_text(EVIL)
    installed.path("sample_plugin/data/greeting.txt").write_text("bad day\n")
    assert code_of(lambda: plugin.module("sample_plugin.late")) == "installed.changed"
    greeting = importlib.resources.files("sample_plugin").joinpath("data/greeting.txt")
    assert code_of(greeting.read_text) == "installed.changed"


def test_bytecode_with_an_unchanged_header_is_ignored(installed: Installed) -> None:
    """A plain import runs it: the check that the attack itself works."""
    source = installed.path("sample_plugin/words.py")
    cached = Path(importlib.util.cache_from_source(str(source)))
    header = struct.pack("<4sIII", importlib.util.MAGIC_NUMBER, 0, int(source.stat().st_mtime), source.stat().st_size)
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(header + marshal.dumps(compile("WORD = 'poisoned'", str(source), "exec")))
    assert importlib.import_module("sample_plugin").hello() == "poisoned"
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample_plugin"]:
        del sys.modules[name]
    assert installed.call() == "hello"


def test_an_unattested_name_below_the_plugins_own_is_not_looked_for(installed: Installed) -> None:
    installed.call()
    extra_module(installed)
    with pytest.raises(ModuleNotFoundError, match="no other place"):
        importlib.import_module("sample_plugin.more")


def test_a_plugin_that_was_imported_before_is_refused(installed: Installed) -> None:
    importlib.import_module("sample_plugin")
    try:
        assert code_of(installed.call) == "plugin.preloaded"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "sample_plugin"]:
            del sys.modules[name]


def test_another_copy_further_down_the_path(installed: Installed, tmp_path: Path) -> None:
    (wheel,) = installed.hosted.wheels.glob("*.whl")
    sys.path.append(str(install(tmp_path / "second", wheel)))  # monkeypatch takes it away again
    assert code_of(installed.call) == "wheel.shadowing"


def test_two_versions_in_one_directory(installed: Installed) -> None:
    installed.path(DIST_INFO).with_name("sample_plugin-0.9.dist-info").mkdir()
    assert code_of(installed.call) == "installed.ambiguous"


def test_links_that_an_installer_makes_are_refused_with_advice(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    install(site, hosted.plugin(MODULES), by="uv with links", options=("--cache-dir", str(tmp_path / "cache")))
    sync(hosted, site)
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(Refused) as caught:
        hosted.gate().load_installed("sample-plugin")
    assert caught.value.code == "installed.link"
    assert "link-mode copy" in caught.value.todo


# -- what shares the environment ---------------------------------------------------------------------------------------


def test_a_locked_dependency_that_is_installed_too_is_served_from_the_wheelhouse(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftpad = hosted.dependency("leftpad")
    wheel = hosted.plugin({PACKAGE: "import leftpad\ndef hello(): return leftpad.VERSION\n"}, locks=[leftpad])
    host = Installed(hosted, install(tmp_path / "site", wheel, leftpad))
    sync(hosted, host.site)
    monkeypatch.syspath_prepend(str(host.site))
    host.path("leftpad.py").write_text(EVIL)
    assert host.call() == "1.0"


def test_a_namespace_has_its_attested_parts_alone(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"shared_space/mine.py": "WORD = 'mine'\n", PACKAGE: "from shared_space.mine import WORD as hello\n"}
    host = Installed(hosted, install(tmp_path / "site", hosted.plugin(modules)))
    sync(hosted, host.site)
    monkeypatch.syspath_prepend(str(host.site))
    host.path("shared_space/theirs.py").write_text(EVIL)
    plugin = host.gate().load_installed("sample-plugin")
    assert plugin.module("shared_space.mine").WORD == "mine"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("shared_space.theirs")
    host.path("shared_space/mine").mkdir()
    host.path("shared_space/mine/__init__.py").write_text(EVIL)
    assert code_of(lambda: host.gate().verify_installed("sample-plugin")) == "installed.extra"
