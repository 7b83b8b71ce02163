"""Values: what is passed on, unchangeable and compared by what it holds.

Structs of msgspec, which every host has imported for the documents anyway: such a class is made in a thirtieth of the
time that a dataclass takes, and a host makes all of them each time it starts.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Value(Struct, frozen=True, weakref=True):
    """Base of all values that are no documents: ``class Place(Value, frozen=True)``; mypy asks for the word.

    Attributes:
        unshown: fields that ``repr`` leaves out, because they would fill pages.
    """

    unshown: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in self.unshown)
        return f"{type(self).__qualname__}({', '.join(shown)})"
