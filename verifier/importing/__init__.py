"""Verified import: modules, package data and metadata, served from snapshots held in memory.

``register(snapshot)`` makes the top-level names of a snapshot importable, from its bytes alone. For those names nothing
else is asked: a submodule that the wheel does not hold does not exist. Each module has one owner, known by
:func:`owner_of` from the globals of any frame.

    modules.py        what the files of a snapshot are to the import system
    loader.py         compiles and runs one module, or hands compiled code to the system's loader
    code_cache.py     compiled code, authenticated, between processes
    libraries.py      the libraries that compiled code needs, loaded before anything can ask for them
    elf.py            which those are
    sealed.py         files in memory that nobody can change any more
    prepared.py       files on disk that the host cannot change
    tree.py           the files of a wheel
    resources.py      package data (importlib.resources)
    metadata.py       the distribution (importlib.metadata)
    owners.py         which plugin's globals these are
    finder.py         the meta path finder over all registered snapshots
    fitting.py        whether a wheel is for this interpreter
    environment.py    whether the host's environment could have a distribution
    clashes.py        what may not be served beside what is there
    registration.py   what a host calls
"""

from __future__ import annotations

from verifier.importing.code_cache import CodeCache
from verifier.importing.owners import Owner, innermost_owner, owner_of
from verifier.importing.registration import Registration, register

__all__ = ["CodeCache", "Owner", "Registration", "innermost_owner", "owner_of", "register"]
