"""Fetching a TUF repository with python-tuf's client: the part of a refresh that speaks TUF.

``tuf.ngclient`` walks the client workflow (TUF specification 1.0, section 5) against the server: it refuses rollback,
freeze, mix-and-match and endless data, by the real clock. It works in a directory of its own, filled with what this
host already trusts; the caller verifies what it leaves there before anything is adopted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    RepositoryError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from verifier.deployment.chain import CHECKPOINT, POLICY, TRUSTED_ROOT
from verifier.deployment.home import StoredTrust
from verifier.deployment.tuf_chain import (
    FILE_LIMIT,
    ROLE_LIMITS,
    ROOT_LIMIT,
    ROOTS_LIMIT,
    SNAPSHOT_LIMIT,
    TARGETS_LIMIT,
    TIMESTAMP_LIMIT,
    root_version,
)
from verifier.errors import LoadlockError, Refused, Unreachable
from verifier.formats.policy import parse_policy
from verifier.refreshing.source import Response, Source

METADATA_URL = "/trust/metadata/"
"""Where a server keeps TUF metadata, below its address."""
TARGETS_URL = "/trust/targets/"
"""Where a server keeps target files, below its address."""

_CONFIG = UpdaterConfig(
    max_root_rotations=ROOTS_LIMIT,
    max_delegations=4,
    root_max_length=ROOT_LIMIT,
    timestamp_max_length=TIMESTAMP_LIMIT,
    snapshot_max_length=SNAPSHOT_LIMIT,
    targets_max_length=TARGETS_LIMIT,
)


class Fetcher(FetcherInterface):
    """Lets python-tuf fetch through the project's own source, and asks for the timestamp only if it changed."""

    def __init__(self, transport: Source) -> None:
        self._transport = transport
        self._timestamp: Response | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A list and no generator: what goes wrong has to go wrong here, where fetch() turns it into a DownloadError.
        path = url.removeprefix(self._transport.server)
        if urlsplit(path).path == f"{METADATA_URL}timestamp.json":
            return iter([self._fetch_timestamp(path)])
        return iter([self._answer(path, None).body])

    def _fetch_timestamp(self, path: str) -> bytes:
        known = self._timestamp
        response = self._answer(path, known.etag if known else None)
        if known is not None and response.status == 304:
            return known.body
        self._timestamp = response
        return response.body

    def _answer(self, path: str, etag: str | None) -> Response:
        response = self._transport.request(path, FILE_LIMIT, etag)
        if response.status != 200 and not (etag and response.status == 304):
            raise DownloadHTTPError(f"status {response.status} for {path}", response.status)
        return response


def fetch_repository(
    fetcher: Fetcher, server: str, pinned: bytes, known: StoredTrust | None, staging: Path
) -> StoredTrust:
    """Fetch a server's TUF repository.

    Args:
        fetcher: what asks the server; it is worth keeping for the next time.
        server: the server's address, without a trailing slash.
        pinned: the root that this host was enrolled with.
        known: the verified repository that this host has, if any; what has not changed is not fetched again.
        staging: an empty directory to work in.

    Raises:
        Unreachable: ``unreachable.server``; ``io.failed``.
        Refused: ``trust.rollback``, ``trust.metadata``.
    """
    metadata, targets = staging / "metadata", staging / "targets"
    with _translated(server):
        (metadata / "root_history").mkdir(parents=True)
        targets.mkdir()
        if known is not None:
            _lay_out(known, metadata, targets)
        updater = Updater(
            str(metadata), f"{server}{METADATA_URL}", str(targets), f"{server}{TARGETS_URL}", fetcher, _CONFIG,
            bootstrap=pinned,
        )  # fmt: skip
        updater.refresh()
        files = {path: _fetch_target(updater, path) for path in (POLICY, CHECKPOINT)}
        for name in parse_policy(files[POLICY].encode()).trusted_roots:
            path = TRUSTED_ROOT.format(name)
            files[path] = _fetch_target(updater, path)
        return StoredTrust(v=1, metadata=_collect(metadata), targets=files)


def _lay_out(known: StoredTrust, metadata: Path, targets: Path) -> None:
    for name, text in known.metadata.items():
        folder = metadata / "root_history" if root_version(name) else metadata
        (folder / name).write_bytes(text.encode())
    for path, text in known.targets.items():
        (targets / quote(path, safe="")).write_bytes(text.encode())


def _fetch_target(updater: Updater, path: str) -> str:
    info = updater.get_targetinfo(path)
    if info is None:
        raise Refused("trust.metadata", f"the server's trust metadata does not list {path}")
    if info.length > FILE_LIMIT:
        raise Refused("trust.metadata", f"the server's {path} is too large", expected=f"at most {FILE_LIMIT} bytes")
    return Path(updater.find_cached_target(info) or updater.download_target(info)).read_bytes().decode()


def _collect(metadata: Path) -> dict[str, str]:
    roots = {path.name: path for path in (metadata / "root_history").iterdir() if root_version(path.name)}
    pinned = min(roots, key=lambda name: root_version(name) or 0)
    paths = [path for name, path in roots.items() if name != pinned]
    paths += [metadata / f"{role}.json" for role in ROLE_LIMITS]
    return {path.name: path.read_bytes().decode() for path in sorted(paths)}


@contextmanager
def _translated(server: str) -> Iterator[None]:
    """Say in Loadlock's terms what python-tuf's client says in many."""
    try:
        yield
    except LoadlockError:
        raise
    except DownloadLengthMismatchError as error:
        raise _refused("trust.metadata", error) from error
    except DownloadError as error:
        if isinstance(error.__cause__, LoadlockError):
            raise error.__cause__ from error
        raise Unreachable("unreachable.server", f"{server} did not answer as it should", found=_words(error)) from error
    except BadVersionNumberError as error:
        raise _refused("trust.rollback", error) from error
    except RepositoryError as error:
        raise _refused("trust.metadata", error) from error
    except OSError as error:
        raise Unreachable("io.failed", "trust metadata cannot be written", found=error.strerror or "") from error
    except Exception as error:  # the outer boundary: hostile documents raise what nobody foresaw
        raise _refused("trust.metadata", error) from error


def _refused(code: str, error: Exception) -> Refused:
    return Refused(code, "the server's trust metadata is refused", found=_words(error))


def _words(error: Exception) -> str:
    words = f"{type(error).__name__}: {error}"
    return "".join(character if character.isprintable() else "?" for character in words[:300])
