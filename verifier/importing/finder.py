"""The meta path finder over all registered portions, and what ``pkgutil`` needs to list their modules.

The portions are kept in one value that is replaced, never changed: looking up needs no lock.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from verifier.formats.packages import normalised
from verifier.importing.loader import ExtensionLoader, NamespaceLoader, Portion, SourceLoader

if TYPE_CHECKING:
    from importlib.abc import MetaPathFinder as _MetaPathFinder
    from importlib.abc import PathEntryFinder as _PathEntryFinder
    from importlib.metadata import Distribution, DistributionFinder
else:  # the import system asks for methods, not for classes; importlib.abc takes long to be imported
    _MetaPathFinder = _PathEntryFinder = object


class Finder(_MetaPathFinder):
    """Finds the modules of registered portions, and for their top-level names is the only one asked."""

    def __init__(self) -> None:
        self.served = Served()

    @property
    def portions(self) -> tuple[Portion, ...]:
        """What is served."""
        return self.served.portions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of a portion; None for a top-level name that no portion owns.

        Raises:
            ModuleNotFoundError: the top-level name is owned, and the wheel neither holds the module nor makes it up.
                Returning None would let the next finder serve something that nobody attested.
            PluginRevoked: the plugin may no longer run: what of it has not begun to run does not begin, whoever asks.
        """
        owners = self.owners(fullname.partition(".")[0])
        if not owners:
            return None
        for portion in owners:
            if fullname in portion.modules.sources:
                portion.check()
                return _module_spec(portion, fullname)
        sharing = self._sharing(fullname)
        if sharing:
            spec = _Spec(fullname, NamespaceLoader(partial(self._sharing, fullname)), is_package=True)
            spec.submodule_search_locations = [portion.modules.search_path(fullname) for portion in sharing]
            return spec
        made_up = _made_up(owners, fullname, path, target)
        if made_up is not None:
            return made_up
        wheels = ", ".join(portion.modules.snapshot.file_name for portion in owners)
        raise ModuleNotFoundError(
            f"No module named {fullname!r} in the verified wheel {wheels}; no other place is searched for it",
            name=fullname,
        )

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        """The distribution of that name.

        Only a search by name finds it. A listing of all distributions does not: through it a host would discover
        entry points that the wheel states by itself, where it is to resolve only those of the signed manifest.
        """
        if context is None or context.name is None or context.path is not sys.path:
            return
        from verifier.importing.metadata import MemoryDistribution  # whoever asks has imported importlib.metadata

        wanted = normalised(context.name)
        for portion in self.portions:
            if portion.modules.snapshot.name == wanted:
                yield MemoryDistribution(portion.tree, portion.modules.snapshot.dist_info)

    def owners(self, top_level: str) -> tuple[Portion, ...]:
        """The portions that own a top-level name: none, one, or several that share it as a namespace."""
        return self.served.owners(top_level)

    def _sharing(self, namespace: str) -> tuple[Portion, ...]:
        return tuple(portion for portion in self.portions if namespace in portion.modules.namespaces)

    def exchange(self, leaving: Collection[Portion], coming: Collection[Portion]) -> None:
        """Serve some portions no longer, and others from now on; namespaces that are already imported learn of it."""
        self.served = self.served.without(leaving).beside(*coming)
        for portion in leaving:
            for namespace, entry in _search_paths(portion):
                if entry in namespace.__path__:
                    namespace.__path__.remove(entry)
        for portion in coming:
            for namespace, entry in _search_paths(portion):
                namespace.__path__.append(entry)

    def install(self) -> None:
        """Be the first finder that is asked, also when another one has since put itself before."""
        if not sys.meta_path or sys.meta_path[0] is not self:
            sys.meta_path[:] = [self, *(finder for finder in sys.meta_path if finder is not self)]
        if self.path_hook not in sys.path_hooks:
            sys.path_hooks.insert(0, self.path_hook)

    def uninstall(self) -> None:
        """Take no more part in imports."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self.path_hook in sys.path_hooks:
            sys.path_hooks.remove(self.path_hook)

    def path_hook(self, entry: str) -> Lister:
        """What lists the modules of one ``__path__`` entry of a portion.

        Raises:
            ImportError: the entry is none of ours.
        """
        for portion in self.portions:
            root = f"{portion.modules.root}/"
            if entry.startswith(root):
                return Lister(portion, entry.removeprefix(root).replace("/", "."))
        raise ImportError(f"{entry!r} lies in no verified wheel")


class Served:
    """Portions, looked up by what each check asks for; nothing is ever changed in one."""

    def __init__(self) -> None:
        self.portions: tuple[Portion, ...] = ()
        self._named: dict[str, tuple[Portion, ...]] = {}
        self._owners: dict[str, tuple[Portion, ...]] = {}

    def named(self, distribution: str) -> tuple[Portion, ...]:
        """The portions of wheels of a distribution."""
        return self._named.get(distribution, ())

    def owners(self, top_level: str) -> tuple[Portion, ...]:
        """The portions that own a top-level name."""
        return self._owners.get(top_level, ())

    def beside(self, *coming: Portion) -> Served:
        """These, and others that come."""
        new = Served()
        new.portions, new._named, new._owners = (*self.portions, *coming), dict(self._named), dict(self._owners)
        for portion in coming:
            name = portion.modules.snapshot.name
            new._named[name] = (*new.named(name), portion)
            for top_level in portion.modules.top_levels:
                new._owners[top_level] = (*new.owners(top_level), portion)
        return new

    def without(self, leaving: Collection[Portion]) -> Served:
        """These, less some."""
        return Served().beside(*(it for it in self.portions if it not in leaving)) if leaving else self


class _Spec(ModuleSpec):
    """The spec of a module of ours. There is no ``.pyc`` of it, whose path importlib would otherwise work out."""

    cached = None


class Lister(_PathEntryFinder):
    """Lists the modules of a package for ``pkgutil``. It finds nothing: finding is for the meta path finder alone."""

    def __init__(self, portion: Portion, package: str) -> None:
        self._portion = portion
        self._package = package

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Nothing."""
        return None

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """The modules directly below the package, as ``pkgutil.iter_modules`` gives them."""
        for name, is_package in self._portion.modules.children(self._package):
            yield prefix + name, is_package


def _made_up(
    owners: tuple[Portion, ...], name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """The spec of a module that a wheel's own code makes up, by a finder that it has put into ``sys.meta_path``: so
    does ``six.moves``. What verified code serves below its own names is as good as that code.
    """
    for finder in list(sys.meta_path):
        find_spec: Any = getattr(finder, "find_spec", None)
        scope: Any = getattr(find_spec, "__globals__", None)
        home = str(scope.get("__name__")) if isinstance(scope, dict) else ""
        is_ours = any(home in portion.executed for portion in owners)
        if is_ours and getattr(sys.modules.get(home), "__dict__", None) is scope:
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


def _module_spec(portion: Portion, name: str) -> ModuleSpec:
    source = portion.modules.sources[name]
    origin = portion.modules.file_name(source.path)
    loader = ExtensionLoader(portion, name) if source.is_extension else SourceLoader(portion, name)
    spec = _Spec(name, loader, origin=origin, is_package=source.is_package)
    spec.has_location = True
    if source.is_package:
        spec.submodule_search_locations = [portion.modules.search_path(name)]
    return spec


def _search_paths(portion: Portion) -> Iterable[tuple[Any, str]]:
    """Imported namespaces that a portion has a directory in, each with the ``__path__`` entry of that directory."""
    for name in portion.modules.namespaces:
        module = sys.modules.get(name)
        if isinstance(getattr(module, "__path__", None), list):
            yield module, portion.modules.search_path(name)
