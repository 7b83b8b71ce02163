"""The shared libraries that a wheel brings for its extension modules, loaded before anything can ask for them.

An extension module names the libraries it needs, and the system's loader searches them: in directories that the module
states, in those of ``LD_LIBRARY_PATH``, in those of the system. Nothing of the wheel lies in any directory, so a search
could find only what nobody attested. But the system's loader searches no name that is loaded already. So (1) what a
module needs of the wheel is found out from the verified bytes, (2) it is made sure that no other library of such a name
is loaded, which would be used instead, and (3) each is loaded from sealed memory, deepest first.

Where libraries need each other, no order is right; these are loaded out of a private directory of links to the sealed
files, which exists only meanwhile, and only if they want their own directory searched before the environment's.

Left to the system, as for every program: libraries that the wheel does not bring (``libc.so.6``), and what a plugin
opens by itself. ``docs/adr/0007-compiled-modules-from-sealed-memory.md`` says why it is done so.
"""

from __future__ import annotations

import contextlib
import marshal
import mmap
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from verifier.errors import Refused
from verifier.importing import needing
from verifier.importing.elf import RULE, Dynamic, read_dynamic, read_used
from verifier.importing.links import tree_of_links
from verifier.importing.needing import Needed
from verifier.importing.sealed import Held, holding, sealed_path
from verifier.private_cache import PrivateCache
from verifier.private_directory import Spans, Used
from verifier.wheels.snapshot import Files
from verifier.wheels.wheel_paths import shown

if TYPE_CHECKING:
    from verifier.importing.prepared import Prepared

_KIND: Final = "needed"
_HELD: Final = "held"


class Libraries:
    """The compiled code of one wheel.

    Args:
        digest: the wheel's.
        files: its files.
        cache: where it is kept what a module needs, and where other processes have sealed files of this wheel.
        prepared: what need not be copied at all.
    """

    def __init__(
        self, digest: str, files: Files, cache: PrivateCache | None = None, prepared: Prepared | None = None
    ) -> None:
        self._digest = digest
        self._files = files
        self._cache = cache
        self._prepared = prepared
        self._dynamics: dict[str, Dynamic] = {}
        self._held: dict[str, Held] | None = None
        self._asked: set[str] = set()
        self._told = 0

    def path_of(self, path: str) -> str:
        """Where the system's loader finds an extension module; what the module needs of the wheel is loaded by then.

        Args:
            path: the module's path in the wheel.

        Raises:
            Refused: ``wheel.unsupported`` if it cannot be loaded safely on this system; ``wheel.shadowing`` if another
                library of a name it needs is loaded already.
        """
        needed = self._needed(path)
        if needed.found:
            _require_glibc()
            with _LOCK:
                self._load(needed)
        return self._sealed(path)

    def _needed(self, path: str) -> Needed:
        """What a module needs (1), as it was found out in an earlier start of these very bytes, or now."""
        parts = (self._digest.encode(), path.encode("utf-8", "surrogatepass"), needing.RULE)
        kept = None if self._cache is None else self._cache.load(_KIND, *parts)
        if kept is not None:
            return needing.unpack(kept)
        needed = needing.find(path, self._dynamic, self._files)
        if self._cache is not None:
            self._cache.store(needing.pack(needed), _KIND, *parts)
        return needed

    def _dynamic(self, path: str) -> Dynamic:
        """What a library says of itself, read from its sealed file."""
        if path not in self._dynamics:
            descriptor = os.open(self._sealed(path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                with _mapped(descriptor) as content:
                    self._dynamics[path] = read_dynamic(content, path)
            finally:
                os.close(descriptor)
        return self._dynamics[path]

    def _load(self, needed: Needed) -> None:
        """Load what is needed and not yet loaded (2, 3)."""
        missing = {name: path for name, path in needed.found.items() if not self._is_ours(name, path)}
        paths = {path: self._sealed(path) for path in missing.values()}
        if needed.is_circular:  # each is loaded with all that it needs, before the others can be asked for
            for name in missing:
                if _handle_of(name) is not None:
                    raise _foreign(name)
        with tree_of_links(paths) if needed.is_circular else contextlib.nullcontext(paths) as places:
            for name, path in missing.items():
                handle = _open(places[path], path)
                if _handle_of(name) != handle:  # before anything that needs it
                    raise _foreign(name)
                _LOADED[name] = (self._files, path)

    def _is_ours(self, name: str, path: str) -> bool:
        """Whether exactly this library was loaded before, by this wheel or another."""
        if name not in _LOADED:
            return False
        files, loaded = _LOADED[name]
        is_same = (files is self._files and loaded == path) or files.sha256(loaded) == self._files.sha256(path)
        if not is_same:
            raise Refused("wheel.shadowing", f"another plugin has loaded another library {shown(name)}")
        return True

    def _sealed(self, path: str) -> str:
        def used(descriptor: int) -> Spans:
            with _mapped(descriptor) as content:
                return read_used(content, path)

        def fill(descriptor: int) -> None:
            self._files.pour(path, descriptor, Used(RULE, used))

        def opened() -> int | None:
            return None if self._prepared is None else self._prepared.open(self._files.sha256(path))

        if self._held is None:
            self._held = self._told_by_others()
        self._asked.add(path)
        return sealed_path((self._digest, path), fill, self._held.get(path), opened)

    def _told_by_others(self) -> dict[str, Held]:
        """Where a process that came before had sealed files of this wheel, by path."""
        kept = None if self._cache is None else self._cache.load(_HELD, self._digest.encode(), RULE)
        if kept is None:
            return {}
        process, files = marshal.loads(kept)  # noqa: S302 - authenticated when it was loaded
        return {path: Held(process, descriptor, state) for path, descriptor, state in files}

    def tell(self) -> None:
        """Let processes that come later use the sealed files of this one, for as long as it runs."""
        if self._cache is None or len(self._asked) == self._told:
            return
        self._told = len(self._asked)
        found = {path: holding((self._digest, path)) for path in sorted(self._asked)}
        files = [(path, file[0].descriptor, file[0].state) for path, file in found.items() if file]
        if any(file[1] for file in found.values() if file):
            self._cache.store(marshal.dumps((os.getpid(), files)), _HELD, self._digest.encode(), RULE)


@contextlib.contextmanager
def _mapped(descriptor: int) -> Iterator[mmap.mmap | bytes]:
    """The content of a file in memory."""
    try:
        # Private: before Linux 6.7 a sealed file cannot be mapped in another way.
        content = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    except ValueError:  # what is empty cannot be mapped
        yield b""
        return
    with content:
        yield content


def _open(place: str, path: str) -> int:
    """Load one library for the rest of the process's life; what the system's loader knows it by."""
    try:
        return _dlopen(place, os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise Refused(
            "wheel.unsupported", f"the system's loader refuses {shown(path)}", found=shown(str(error))
        ) from error


def _require_glibc() -> None:
    """Only glibc's loader knows a library by its soname, however it was opened."""
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        library = None
    if not library:
        raise Refused("wheel.unsupported", "wheels that bring libraries of their own can be loaded with glibc only")


def _handle_of(name: str) -> int | None:
    """What the system's loader knows the library by that it would use for a name; None if it would have to search."""
    try:
        return _dlopen(name, os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None


def _dlopen(name: str, mode: int) -> int:
    """What ``ctypes.CDLL`` does first. The rest of ctypes takes longer to be imported than libraries to be loaded."""
    from _ctypes import dlopen

    return dlopen(name, mode)


def _foreign(name: str) -> Refused:
    return Refused(
        "wheel.shadowing",
        f"a library {shown(name)} from elsewhere is already loaded, and would be used instead of the wheel's",
        todo="Remove the other copy from the host's environment, or load the plugin first.",
    )


def _after_fork() -> None:
    """A lock that another thread held when the process forked would never be freed in the child."""
    global _LOCK  # noqa: PLW0603 - replaced for the child, where no other thread exists yet
    _LOCK = threading.Lock()


# What was loaded, as files of a wheel and path, by the name it is found by. One for the process:
# libraries cannot be unloaded.
_LOADED: dict[str, tuple[Files, str]] = {}
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
