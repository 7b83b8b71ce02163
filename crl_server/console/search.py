"""One search over everything the console knows."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from fastapi import FastAPI, Query, Request, Response

from crl_server.api.plugins import search as plugins_like
from crl_server.console import questions
from crl_server.console.desk import Desk, Facts
from crl_server.console.door import Visitor
from crl_server.plugins.ranking import MAX_WORDS, Wanted
from crl_server.storage.ledger import MAX_ID

SHOWN = 20
"""How many finds of each sort a page has."""

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_RULE = re.compile(r"[rR]([0-9]{1,12})")


class Find(NamedTuple):
    """Something that was found: where it is, what it is called, and a line about it."""

    path: str
    name: str
    about: str


class Sort(NamedTuple):
    """Finds of one sort, under their heading."""

    title: str
    finds: list[Find]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the page."""

    @console.get("/search")
    async def search(request: Request, q: Annotated[str, Query(max_length=200)] = "") -> Response:
        visitor = await desk.reader(request, "artifact.read")
        return await desk.show(visitor, "search.html", lambda: _facts(desk, visitor, q.strip()))


def _facts(desk: Desk, visitor: Visitor, wanted: str) -> Facts:
    if not wanted:
        return {"q": "", "sorts": [], "found": 0}
    sorts = _sorts(desk, visitor, wanted)
    return {"q": wanted, "sorts": [sort for sort in sorts if sort.finds], "found": sum(len(s.finds) for s in sorts)}


def _sorts(desk: Desk, visitor: Visitor, wanted: str) -> list[Sort]:
    digest, rule = _DIGEST.fullmatch(wanted.lower()), _RULE.fullmatch(wanted)
    plugins = [
        Find(f"/plugins/{card.plugin_id}", card.plugin_id, card.description)
        for card in plugins_like(desk.authority.store, Wanted(" ".join(wanted.split()[:MAX_WORDS])), "", SHOWN).plugins
    ]
    with desk.authority.store.read() as ledger:
        found_hosts = questions.hosts_like(ledger, wanted, SHOWN) if visitor.offered("host.read") else ()
        artifacts = [
            Find(f"/artifacts/{row.digest}", f"{row.plugin_id} {row.version}", row.file_name)
            for row in questions.artifacts_like(ledger, wanted, digest[1] if digest else "", SHOWN)
        ]
        components = [
            Find(f"/artifacts/{part.artifact}", f"{part.name} {part.version}".strip(), f"in {plugin_id} {version}")
            for part, plugin_id, version in questions.components_like(ledger, wanted, SHOWN)
        ]
        revocations = [
            Find(
                f"/artifacts/{row.digest}",
                row.digest,
                f"{row.reason}, by {row.by}{f': {row.note}' if row.note else ''}",
            )
            for row in questions.revocations_like(ledger, wanted, digest[1] if digest else "", SHOWN)
        ]
        rules = [
            Find(
                f"/rules?before={row.number + 1}#R{row.number}",
                f"R{row.number}",
                f"{row.kind}, {row.reason}{f': {row.note}' if row.note else ''}",
            )
            for row in questions.rules_like(ledger, wanted, _number(rule[1]) if rule else None, SHOWN)
        ]
    hosts = [Find(f"/hosts/{name}", name, "") for name in found_hosts]
    return [Sort("Plugins", plugins), Sort("Artifacts", artifacts), Sort("Revocations", revocations),
            Sort("Standing rules", rules), Sort("Components", components), Sort("Hosts", hosts)]  # fmt: skip


def _number(digits: str) -> int | None:
    """A rule's number; None where it cannot be one."""
    found = int(digits)
    return found if found <= MAX_ID else None
