"""What hosts need of wheels that are installed: which wheels a release has, and their RECORDs, in the public tree.

RECORDs are named by their digest, and written before the document that names them. ``docs/spec/installed.md`` gives
both forms.
"""

from __future__ import annotations

import hashlib

from sqlmodel import col, select

from crl_server.lists.public_tree import PublicTree
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact
from verifier.formats.release import MAX_WHEELS, Release, ReleasedWheel, dump_release, release_key
from verifier.formats.text import Digest, Hex, Version


def publish(ledger: Ledger, tree: PublicTree, plugin_id: str, version: str) -> None:
    """Write what hosts need of one release. Wheels that were admitted before RECORDs were kept are left out.

    Args:
        ledger: knows the artifacts.
        tree: the public tree.
        plugin_id: the plugin.
        version: its version.

    Raises:
        Unreachable: ``io.failed``.
    """
    query = select(Artifact).where(Artifact.plugin_id == plugin_id, Artifact.version == version)
    newest = ledger.session.exec(query.order_by(col(Artifact.admitted_at).desc(), col(Artifact.digest))).all()
    wheels: list[ReleasedWheel] = []
    for row in newest:
        if row.record is not None and len(wheels) < MAX_WHEELS:
            digest = Hex(hashlib.sha256(row.record).hexdigest())
            path = tree.layout.record_file(digest)
            if tree.lacks(ledger, path, row.record):
                tree.place(ledger, path, row.record)
            wheels.append(
                ReleasedWheel(file=row.file_name, digest=Digest(row.digest), record=Digest(f"sha256:{digest}"))
            )
    if wheels:
        name = plugin_id.replace("_", "-")  # of which the id was made
        release = Release(v=1, name=name, version=Version(version), wheels=tuple(wheels))
        document = dump_release(release)
        path = tree.layout.release_file(release_key(name, version))
        if tree.lacks(ledger, path, document):
            tree.place(ledger, path, document)


def complete(ledger: Ledger, tree: PublicTree) -> None:
    """Write whatever is missing of all releases; raises as :func:`publish`."""
    query = select(Artifact.plugin_id, Artifact.version).where(col(Artifact.record).is_not(None)).distinct()
    for plugin_id, version in ledger.session.exec(query).all():
        publish(ledger, tree, plugin_id, version)
