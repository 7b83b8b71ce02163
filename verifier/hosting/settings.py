"""The settings of a host: one file, everything with a safe default. Specified in docs/spec/host-settings.md."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta
from packaging.utils import canonicalize_name

from verifier.deployment.place import find_deployment
from verifier.errors import FormatError, UsageError
from verifier.files import read_capped
from verifier.formats.manifest import Classification
from verifier.formats.policy import TierName
from verifier.formats.strict_json import Document, convert
from verifier.formats.text import PluginId
from verifier.judging.decide import Adapter, Request
from verifier.value import Value

FILE_NAME: Final = "loadlock.toml"
"""The settings' name in a deployment's directory."""
PROJECT_FILE: Final = "pyproject.toml"
"""A file that holds the settings in its table ``[tool.loadlock.host]``."""
MAX_SETTINGS: Final = 64 * 1024
"""Size cap of the file in bytes."""
MAX_ITEMS: Final = 1_000
"""How many items a list may have."""
MAX_WHEELS: Final = 5_000
"""How many wheels a directory of plugins may hold."""

_Words = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=500)], ...], Meta(max_length=MAX_ITEMS)]
_Place = Annotated[str, Meta(min_length=1, max_length=4096)]


class _Written(Document, frozen=True):
    """The settings as they are written; paths are relative to the file."""

    deployment: _Place | None = None
    plugins: _Words = ("plugins",)
    installed: _Words = ()
    tier: TierName = "core"
    classification: Classification = "public"
    hermetic: bool = False
    strict: bool = False
    required: Annotated[tuple[PluginId, ...], Meta(max_length=MAX_ITEMS)] = ()
    groups: _Words = ()
    own: _Words = ()
    watch: bool = True
    interval: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    push: bool = True
    observe: bool = True
    wheelhouse: _Place | None = None
    cache: _Place | None = None
    libraries: _Place | None = None


class Settings(Value, frozen=True, kw_only=True):
    """What a host wants, with absolute paths.

    Attributes:
        deployment: the host's deployment directory.
        plugins: the directories with its wheels.
        installed: normalised names of distributions that are plugins, and that an installer has unpacked.
        tier: the least trusted tier that it accepts.
        classification: of the data that its runs touch.
        hermetic: whether its runs have to be hermetic.
        strict: whether whatever would be a warning refuses.
        required: ids of plugins without which it does not start.
        groups: groups of entry points that :func:`verifier.hosting.discovery.guard` guards.
        own: normalised names of the host's own distributions, whose entry points in those groups are let through.
        watch: whether trust and list are kept fresh in the background.
        interval: seconds between two passes of that.
        push: whether the server's push stream is listened to.
        observe: whether runs record what their plugins reach for.
        wheelhouse: where wheels of locked dependencies lie; None for ``wheels/`` of the deployment directory.
        cache: where what a start finds out is kept; None for nowhere.
        libraries: where an administrator has prepared the libraries of the wheels; None for nowhere.
    """

    deployment: Path
    plugins: tuple[Path, ...]
    installed: tuple[str, ...] = ()
    tier: TierName = "core"
    classification: Classification = "public"
    hermetic: bool = False
    strict: bool = False
    required: tuple[PluginId, ...] = ()
    groups: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    watch: bool = True
    interval: float = 60.0
    push: bool = True
    observe: bool = True
    wheelhouse: Path | None = None
    cache: Path | None = None
    libraries: Path | None = None

    def request(self, adapters: Mapping[str, Adapter] | None = None) -> Request:
        """What the host wants of every plugin.

        Args:
            adapters: by older API version, what lets the host call plugins that take that and not its own.
        """
        return Request(
            tier=self.tier, classification=self.classification, hermetic=self.hermetic, strict=self.strict,
            adapters=adapters or {},
        )  # fmt: skip

    def wheels(self) -> list[Path]:
        """The wheels in the directories of plugins: those of the first by name, and so on.

        Raises:
            UsageError: ``usage.configuration`` for a directory that is not there, or holds too many.
        """
        found = []
        for directory in self.plugins:
            if not directory.is_dir():
                raise UsageError(
                    "usage.configuration", "a directory of plugins is not there", found=str(directory),
                    expected="a directory with wheels, which may be empty",
                )  # fmt: skip
            wheels = sorted(directory.glob("*.whl"))
            if len(wheels) > MAX_WHEELS:
                raise UsageError(
                    "usage.configuration", "a directory of plugins holds too many wheels", found=str(len(wheels)),
                    expected=f"at most {MAX_WHEELS}",
                )  # fmt: skip
            found += wheels
        return found

    @classmethod
    def find(cls, place: Path | str | None = None) -> Settings:
        """The settings in a file, or those of a deployment directory: its ``loadlock.toml``, or the defaults.

        Args:
            place: the file or the directory; None for the environment's directory, or the nearest ``.loadlock/``.

        Raises:
            UsageError: ``usage.deployment``, ``usage.configuration``, ``io.failed``.
        """
        file = settings_file(place)
        return cls.read(file) if file.exists() else _settled(_Written(), file.parent)

    @classmethod
    def read(cls, file: Path) -> Settings:
        """Read a file; of a ``pyproject.toml``, its table ``[tool.loadlock.host]``.

        Raises:
            UsageError: ``usage.configuration`` for anything that the specification does not allow; ``io.failed``.
        """
        data = read_capped(file, MAX_SETTINGS, "host's settings")
        try:
            value = tomllib.loads(data.decode("utf-8"))
            if file.name == PROJECT_FILE:
                value = value["tool"]["loadlock"]["host"]
            written = convert(value, _Written, what="host's settings")
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _unusable(file, str(error)[:200]) from error
        except (KeyError, TypeError) as error:
            raise _unusable(file, "there is no table [tool.loadlock.host]") from error
        except FormatError as error:
            raise _unusable(file, f"{error.what}: {error.found}") from error
        if written.libraries is not None and written.cache is None:
            raise _unusable(file, "libraries without cache, where it is kept which of them were verified")
        return _settled(written, file.parent)


def settings_file(place: Path | str | None = None) -> Path:
    """Where :meth:`Settings.find` looks, which need not be there; arguments and errors as there."""
    if place is not None and Path(place).is_file():
        return Path(place)
    return find_deployment(None if place is None else str(place)) / FILE_NAME


def _settled(written: _Written, base: Path) -> Settings:
    """Make the paths absolute and the names comparable."""
    base = base.absolute()

    def place(path: str | None) -> Path | None:
        return None if path is None else base / path

    return Settings(
        deployment=base if written.deployment is None else base / written.deployment,
        plugins=tuple(base / path for path in written.plugins),
        installed=tuple(dict.fromkeys(canonicalize_name(name) for name in written.installed)),
        tier=written.tier,
        classification=written.classification,
        hermetic=written.hermetic,
        strict=written.strict,
        required=written.required,
        groups=frozenset(written.groups),
        own=frozenset(canonicalize_name(name) for name in written.own),
        watch=written.watch,
        interval=written.interval,
        push=written.push,
        observe=written.observe,
        wheelhouse=place(written.wheelhouse),
        cache=place(written.cache),
        libraries=place(written.libraries),
    )


def _unusable(file: Path, found: str) -> UsageError:
    return UsageError(
        "usage.configuration", f"the host's settings in {file.name} are not usable", found=found,
        expected="docs/spec/host-settings.md",
    )  # fmt: skip
