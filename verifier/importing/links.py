"""A directory of links, which lasts for a moment: where the system's loader finds libraries that need each other."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from verifier.errors import Refused

_IN_MEMORY: Final = "/dev/shm"  # noqa: S108 - a directory in it is made as privately as in any other


@contextmanager
def tree_of_links(paths: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A private directory in which each library lies where the wheel has it, as a link to its sealed file.

    It is named by a descriptor, so that nothing that happens to its path changes what is found in it.

    Args:
        paths: path in the wheel to the path of the sealed file.

    Yields:
        Path in the wheel to the path of the link.

    Raises:
        Refused: ``wheel.unsupported`` if it cannot be made.
    """
    try:
        with ExitStack() as stack:
            place = _new_directory()
            stack.callback(_remove, os.rmdir, place)
            root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, root)
            for directory in sorted({parent for path in paths for parent in _parents(path)}):
                os.mkdir(directory, 0o700, dir_fd=root)
                stack.callback(_remove, os.rmdir, directory, root)
            for path, target in paths.items():
                os.symlink(target, path, dir_fd=root)
                stack.callback(_remove, os.unlink, path, root)
            yield {path: f"/proc/self/fd/{root}/{path}" for path in paths}
    except OSError as error:
        raise Refused(
            "wheel.unsupported",
            "libraries that need each other are loaded out of a temporary directory, which cannot be made",
            found=error.strerror or str(error),
        ) from error


def _new_directory() -> str:
    place = f"{_IN_MEMORY}/loadlock-{os.urandom(16).hex()}"
    try:
        os.mkdir(place, 0o700)
    except OSError:
        import tempfile  # which takes longer to be imported than all libraries of a wheel to be loaded

        return tempfile.mkdtemp(prefix="loadlock-")
    return place


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _remove(by: Callable[..., None], path: str, root: int | None = None) -> None:
    """Remove what may be gone already."""
    with suppress(OSError):
        by(path, dir_fd=root)
