"""Loaders: one compiles and runs a module from the snapshot's bytes, one hands compiled code to the system's loader
from sealed memory, one makes a namespace.

Bytecode of Python's own kind is neither read nor written; the host may pass an authenticated cache instead. Each
module's dictionary is claimed for its owner before its first line runs.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import threading
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from verifier.errors import PluginRevoked, Refused
from verifier.importing.code_cache import CodeCache
from verifier.importing.modules import Modules
from verifier.importing.owners import Owner, claim
from verifier.importing.tree import MemoryTree

if TYPE_CHECKING:
    from importlib.abc import InspectLoader as _InspectLoader
    from importlib.abc import Loader as _Loader

    from verifier.importing.libraries import Libraries
    from verifier.importing.resources import MemoryReader
else:  # the import system asks for methods, not for classes; importlib.abc takes long to be imported
    _InspectLoader = _Loader = object


class Portion:
    """One registered snapshot, as finder and loaders see it.

    Attributes:
        modules: its importable view.
        owner: whom its modules are claimed for; None for a dependency, which works for whoever calls it.
        cache: where compiled code is kept, if anywhere.
        tree: its files.
        lock: held while one of its modules is imported for the host.
        executed: names of modules that a loader of ours began to run.
        ready: modules that were imported for the host, as they were then.
        dependencies: of a plugin, the portions of its locked dependencies.
        users: of a dependency, the plugins that lock it.
        stands_for: the site directory whose copy of the wheel it is served in the place of, if any.
        standing: raises once the plugin may no longer run.
    """

    def __init__(
        self, modules: Modules, owner: Owner | None, cache: CodeCache | None = None, stands_for: str | None = None
    ) -> None:
        self.modules = modules
        self.owner = owner
        self.cache = cache
        self.tree = MemoryTree(modules.root, modules.snapshot.files)
        self._libraries: dict[None, Libraries] = {}  # once, whichever thread is first
        self.lock = threading.RLock()
        self.executed: set[str] = set()
        self.ready: dict[str, ModuleType] = {}
        self.dependencies: tuple[Portion, ...] = ()
        self.users: list[Portion] = []
        self.stands_for = stands_for
        self.standing: Callable[[], object] = _stands

    def check(self) -> None:
        """Return as long as its modules may be imported: of a dependency, as long as one of its users' may.

        Raises:
            PluginRevoked: as ``standing`` does.
        """
        self.standing()
        stopped: PluginRevoked | None = None
        for user in self.users:
            try:
                user.check()
            except PluginRevoked as error:
                stopped = error
            else:
                return
        if stopped is not None:
            raise stopped

    def library_of(self, path: str) -> str:
        """Where the system's loader finds an extension module of it; raises as :meth:`Libraries.path_of`."""
        libraries = self._libraries.get(None)
        if libraries is None:
            from verifier.importing.libraries import Libraries  # most wheels are of Python alone

            # What an installer unpacked is read and verified in each start; of it nothing is taken from elsewhere.
            snapshot, cache = self.modules.snapshot, self.cache
            if cache is None or snapshot.unpacked_at is not None:
                libraries = Libraries(snapshot.digest, snapshot.files)
            else:
                libraries = Libraries(snapshot.digest, snapshot.files, cache.kept, cache.prepared)
            libraries = self._libraries.setdefault(None, libraries)
        return libraries.path_of(path)

    def tell(self) -> None:
        """Let processes that come later use what this one has sealed of its compiled code."""
        for libraries in tuple(self._libraries.values()):
            libraries.tell()

    @property
    def is_dependency(self) -> bool:
        """Whether it is served because plugins lock it, and not as a plugin."""
        return self.owner is None

    @property
    def described(self) -> str:
        """Which wheel it is, and whose, in words."""
        snapshot = self.modules.snapshot
        of = f", locked by {', '.join(user.modules.snapshot.name for user in self.users)}" if self.users else ""
        return f"{snapshot.name} {snapshot.version}, {snapshot.digest}{of}"

    def claim(self, module: ModuleType) -> None:
        """Say whose globals a module's are, before any code runs in them."""
        if self.owner is not None:
            claim(module.__dict__, self.owner)


def _stands() -> None:
    """What nobody has stopped stands."""


class ModuleLoader(_InspectLoader):
    """What the loaders of modules have in common: one portion, one name, and the files around it."""

    def __init__(self, portion: Portion, name: str) -> None:
        self._portion = portion
        self._name = name
        self._source = portion.modules.sources[name]

    def get_filename(self, fullname: str) -> str:
        """What stands for the module's file."""
        self._check(fullname)
        return self._portion.modules.file_name(self._source.path)

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package."""
        self._check(fullname)
        return self._source.is_package

    def get_data(self, path: str) -> bytes:
        """A file of the wheel, named as ``__file__`` names files; ``pkgutil.get_data`` asks for this.

        Raises:
            OSError: no file of the wheel.
        """
        root, plain = f"{self._portion.modules.root}/", path.replace(os.sep, "/")
        content = self._portion.tree.files.get(plain.removeprefix(root)) if plain.startswith(root) else None
        if content is None:
            raise FileNotFoundError(f"{path!r} is no file of the verified wheel")
        return content

    def get_resource_reader(self, fullname: str) -> MemoryReader:
        """The files beside the module."""
        self._check(fullname)
        from verifier.importing.resources import MemoryReader

        return MemoryReader(self._portion.tree, self._source.path.rpartition("/")[0])

    def is_of(self, portion: Portion) -> bool:
        """Whether this loads a module of that portion."""
        return self._portion is portion

    def _check(self, fullname: str) -> None:
        if fullname != self._name:
            raise ImportError(f"the loader of {self._name} cannot load {fullname}", name=fullname)


class SourceLoader(ModuleLoader):
    """Compiles and runs one module of a portion."""

    def create_module(self, spec: object) -> ModuleType | None:
        """An ordinary module will do."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Compile the module, claim its dictionary, and run it."""
        code = self.get_code(self._name)
        self._portion.claim(module)
        self._portion.executed.add(self._name)
        linecache.lazycache(self.get_filename(self._name), module.__dict__)
        try:
            exec(code, module.__dict__)  # noqa: S102 - running what was verified is what this loader is for
        except BaseException:
            self._portion.executed.discard(self._name)
            raise

    def get_code(self, fullname: str) -> CodeType:
        """The module compiled, from the snapshot's bytes, or out of the cache if it was compiled before."""
        file_name, cache = self.get_filename(fullname), self._portion.cache
        if cache is None:
            return self._compile(file_name)
        digest = self._portion.modules.snapshot.files.sha256(self._source.path)
        code = cache.load(digest, file_name)
        if code is None:
            code = self._compile(file_name)
            cache.store(digest, file_name, code)
        return code

    def get_source(self, fullname: str) -> str:
        """The module's source, for tracebacks, ``inspect`` and ``linecache``."""
        self._check(fullname)
        try:
            return importlib.util.decode_source(self._portion.tree.files[self._source.path])
        except Refused as error:  # changed since it ran: a traceback goes without its lines
            raise ImportError(str(error), name=fullname) from error

    def _compile(self, file_name: str) -> CodeType:
        return compile(self._portion.tree.files[self._source.path], file_name, "exec", dont_inherit=True)


class ExtensionLoader(ModuleLoader):
    """Loads one extension module of a portion from sealed memory."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Hand the module to the system's loader. Its code runs from here on.

        Raises:
            Refused: ``wheel.unsupported`` or ``wheel.shadowing``.
            ImportError: the system's loader refuses it, or it fails by itself.
        """
        path = self._portion.library_of(self._source.path)
        self._native = ExtensionFileLoader(self._name, path)
        module = self._native.create_module(
            ModuleSpec(self._name, self, origin=path, is_package=self._source.is_package)
        )
        if isinstance(module, ModuleType):  # an extension may make anything
            self._portion.claim(module)
            module.__file__ = self.get_filename(self._name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Let the module initialise itself."""
        self._portion.executed.add(self._name)
        try:
            ExtensionFileLoader(self._name, self.get_filename(self._name)).exec_module(module)
        except BaseException:
            self._portion.executed.discard(self._name)
            raise

    def get_code(self, fullname: str) -> None:
        """Nothing: there is no Python code."""
        self._check(fullname)

    def get_source(self, fullname: str) -> None:
        """Nothing: there is no Python source."""
        self._check(fullname)


class NamespaceLoader(_Loader):
    """Makes a namespace from the portions that hold a directory of its name.

    Args:
        portions: tells which these are now: others may be registered, and some withdrawn, while the namespace lives.
    """

    def __init__(self, portions: Callable[[], tuple[Portion, ...]]) -> None:
        self._portions = portions

    def create_module(self, spec: object) -> ModuleType | None:
        """An ordinary module will do."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs: a namespace has no code."""

    def get_resource_reader(self, fullname: str) -> MemoryReader:
        """The files of all portions below the namespace; registering made sure that no two are of one name."""
        from verifier.importing.resources import MemoryReader

        directory, portions = fullname.replace(".", "/"), self._portions()
        if len(portions) == 1:
            return MemoryReader(portions[0].tree, directory)
        files = {
            path: portion.tree.files[path]
            for portion in portions
            for path in portion.tree.files
            if path.startswith(f"{directory}/")
        }
        return MemoryReader(MemoryTree("loadlock:", files), directory)
