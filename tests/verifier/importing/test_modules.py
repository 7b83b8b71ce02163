"""Modules served from memory behave as modules do: imports, sources, tracebacks, listing; no bytecode is touched."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import inspect
import linecache
import marshal
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.verifier.importing.conftest import Make
from verifier.importing import Owner, owner_of
from verifier.importing.loader import SourceLoader

PLUGIN = {
    "sample_plugin/__init__.py": "from .core import run\nfrom . import deep\nVALUE: 1 + 1 = 5\n",
    "sample_plugin/core.py": "# coding: latin-1\ndef run(number):\n    word = '\xe9'\n    return 1 / number\n".encode(
        "latin-1"
    ),
    "sample_plugin/deep/__init__.py": "from ..core import run as far\n",
    "sample_plugin/deep/leaf.py": "from .. import VALUE\n",
    "sample_plugin/bare/leaf.py": "NAME = __name__\n",
    "sample_plugin/both.py": "WHICH = 'module'\n",
    "sample_plugin/both/__init__.py": "WHICH = 'package'\n",
    "sample_plugin/data.txt": "data",
    "sample_plugin/tool.with.dots.py": "",
    "odd-name.py": "ODD = True\n",
}


def test_imports(made: Make) -> None:
    registration = made(PLUGIN)
    assert registration.import_module("sample_plugin").VALUE == 5
    assert registration.import_module("sample_plugin.deep.leaf").VALUE == 5
    assert registration.import_module("sample_plugin.bare.leaf").NAME == "sample_plugin.bare.leaf"
    assert registration.import_module("sample_plugin.both").WHICH == "package"
    assert registration.import_module("odd-name").ODD
    assert importlib.reload(sys.modules["sample_plugin.both"]).WHICH == "package"


def test_future_of_the_loader_is_not_inherited(made: Make) -> None:
    assert made(PLUGIN).import_module("sample_plugin").__annotations__ == {"VALUE": 2}


def test_file_names(made: Make) -> None:
    registration = made(PLUGIN)
    package = registration.import_module("sample_plugin")
    root = f"loadlock:{registration.snapshot.digest[:23]}"
    assert package.__file__ == f"{root}/sample_plugin/__init__.py"
    assert package.__path__ == [f"{root}/sample_plugin"]
    assert sys.modules["sample_plugin.core"].run.__code__.co_filename == f"{root}/sample_plugin/core.py"


def test_sources_and_tracebacks(made: Make) -> None:
    core = made(PLUGIN).import_module("sample_plugin.core")
    assert inspect.getsource(core.run).startswith("def run(number):\n    word = 'é'\n")
    assert inspect.getmodule(core.run) is core
    with pytest.raises(ZeroDivisionError) as failure:
        core.run(0)
    assert "return 1 / number" in "".join(traceback.format_exception(failure.value))
    linecache.checkcache()
    assert core.__file__ is not None
    assert linecache.getline(core.__file__, 4) == "    return 1 / number\n"


def test_source_is_kept_lazily(made: Make) -> None:
    registration = made(PLUGIN)
    leaf = registration.import_module("sample_plugin.bare.leaf")
    assert leaf.__file__ is not None
    assert len(linecache.cache[leaf.__file__]) == 1
    registration.unregister()
    assert leaf.__file__ not in linecache.cache


def test_loader_answers_for_its_own_module_only(made: Make) -> None:
    loader = made(PLUGIN).import_module("sample_plugin.core").__loader__
    assert isinstance(loader, SourceLoader)
    assert str(loader.get_source("sample_plugin.core")).startswith("# coding")
    assert not loader.is_package("sample_plugin.core")
    with pytest.raises(ImportError):
        loader.get_source("sample_plugin")


def test_listing(made: Make) -> None:
    package = made(PLUGIN).import_module("sample_plugin")
    listed = {module.name: module.ispkg for module in pkgutil.iter_modules(package.__path__, "p.")}
    assert listed == {"p.both": True, "p.core": False, "p.deep": True}
    walked = [module.name for module in pkgutil.walk_packages(package.__path__, "sample_plugin.")]
    assert "sample_plugin.deep.leaf" in walked


def test_package_root_on_sys_path_serves_nothing(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    package = made(PLUGIN).import_module("sample_plugin")
    monkeypatch.syspath_prepend(package.__path__[0])
    assert importlib.util.find_spec("core") is None


def test_bytecode_is_neither_read_nor_written(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registration = made({"sample_plugin/__init__.py": "", "sample_plugin/core.py": "WHO = 'verified'\n"})
    evil = compile("WHO = 'evil'", "evil", "exec")
    header = importlib.util.MAGIC_NUMBER + bytes(12)
    root = registration.import_module("sample_plugin").__path__[0]
    for place in (root, f"{root}/__pycache__"):
        Path(place).mkdir(parents=True, exist_ok=True)
        for name in ("core.pyc", f"core.{sys.implementation.cache_tag}.pyc"):
            (Path(place) / name).write_bytes(header + marshal.dumps(evil))
        (Path(place) / "core.py").write_text("WHO = 'evil'\n")
    before = sorted(tmp_path.rglob("*"))
    assert registration.import_module("sample_plugin.core").WHO == "verified"
    assert sorted(tmp_path.rglob("*")) == before


def test_owner(made: Make) -> None:
    registration = made(PLUGIN)
    core = registration.import_module("sample_plugin.core")
    assert owner_of(core.run.__globals__) == Owner("sample-plugin", registration.snapshot.digest)
    assert owner_of(dict(core.run.__globals__)) is None
    assert owner_of(globals()) is None
    registration.unregister()
    assert owner_of(core.run.__globals__) is None


def test_owner_is_known_to_the_first_line(made: Make) -> None:
    source = "from verifier.importing import owner_of\nOWNER = owner_of(globals())\n"
    registration = made({"sample_plugin.py": source})
    assert registration.import_module("sample_plugin").OWNER is registration.owner


MAKES_UP = """
import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name in ("sample_plugin.made_up", "other_plugin.made_up"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.VALUE = __name__

finder = Finder()
sys.meta_path.append(finder)
"""


def test_a_wheel_makes_up_modules_below_its_own_names_alone(made: Make) -> None:
    plugin = made({"sample_plugin/__init__.py": MAKES_UP})
    other = made({"other_plugin/__init__.py": ""}, name="other-plugin")
    finder = plugin.import_module("sample_plugin").finder
    try:
        other.import_module("other_plugin")
        assert importlib.import_module("sample_plugin.made_up").VALUE == "sample_plugin"
        for name in ("other_plugin.made_up", "sample_plugin.not_made_up"):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


def test_no_finder_of_the_host_makes_up_modules_for_a_wheel(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
            raise AssertionError("the host's finder was asked")

    plugin = made({"sample_plugin/__init__.py": ""})
    plugin.import_module("sample_plugin")
    borrowed = type("Finder", (Finder,), {"__module__": "sample_plugin"})  # claims to be of the wheel
    elsewhere = {"__name__": "sample_plugin"}  # so does this
    exec("class Finder:\n    def find_spec(self, *_): raise AssertionError('asked')\n", elsewhere)
    claiming: Any = elsewhere["Finder"]
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, borrowed(), claiming()])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sample_plugin.made_up")
