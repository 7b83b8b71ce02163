"""Pages out of templates: whatever is filled in is escaped, and what is not there is an error, not an empty place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from verifier.formats.text import Time

HERE = Path(__file__).parent
_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that pages refer to, and the digest that stands in its address."""

    content: bytes
    media_type: str
    version: str


def read_assets() -> Mapping[str, Asset]:
    """The files that go with the pages, by name."""
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        if path.suffix in MEDIA_TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found[path.name] = Asset(content, f"{MEDIA_TYPES[path.suffix]}; charset=utf-8", digest[:16])
    return found


class Renderer:
    """Makes pages.

    Args:
        base: the path that every link begins with.
        assets: the files that pages refer to.
        common: what every page is told besides.
    """

    def __init__(self, base: str, assets: Mapping[str, Asset], common: Mapping[str, Any]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"when": _when, "day": _day, "digest": _digest, "number": _number}
        self._environment.filters["particular"] = _particular

        def asset(name: str) -> str:
            return f"{base}/static/{name}?v={assets[name].version}"

        self._environment.globals |= {"base": base, "asset": asset, **common}

    def page(self, template: str, facts: Mapping[str, Any]) -> str:
        """The page that a template makes of ``facts``."""
        return self._environment.get_template(template).render(facts)


def _instant(value: str | datetime) -> datetime:
    return Time(value).instant if isinstance(value, str) else value


@pass_context
def _when(context: Context, value: str | datetime | None) -> Markup:
    """A moment: how long ago or until then, the moment itself for whoever looks closer."""
    if value is None:
        return Markup("<span class='none'>never</span>")
    instant = _instant(value)
    exact = f"{instant:%Y-%m-%d %H:%M:%S} UTC"
    shown = span_words(instant - context["now"])
    return Markup("<time datetime='{}' title='{}'>{}</time>").format(Time.of(instant), exact, shown)


def _day(value: str | datetime) -> Markup:
    """A moment in full."""
    instant = _instant(value)
    return Markup("<time datetime='{}'>{}</time>").format(Time.of(instant), f"{instant:%Y-%m-%d %H:%M} UTC")


def _particular(value: object) -> str:
    """A detail of an audit entry: digests short, lists apart by commas."""
    if isinstance(value, list):
        return ", ".join(map(_particular, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{_last_words(name)}: {_particular(part)}" for name, part in value.items()) or "none"
    text = str(value)
    return text.removeprefix("sha256:")[:12] if _DIGEST.fullmatch(text) else text


def _last_words(name: str) -> str:
    """A name, without the address before it."""
    return "/".join(name.split("/")[-2:]) if name.startswith("https://") else name


def span_words(span: timedelta) -> str:
    """How far a moment lies from now, in words: the past is negative."""
    seconds = abs(int(span.total_seconds()))
    if seconds < 45:
        return "just now" if span <= timedelta(0) else "in a moment"
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size or unit == "minute":
            count = max(1, round(seconds / size))
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{words} ago" if span < timedelta(0) else f"in {words}"
    raise AssertionError("minutes take everything")


def _digest(value: str) -> Markup:
    """A digest, short: its first twelve digits tell it from every other here."""
    return Markup("<code class='digest' title='{}'>{}</code>").format(value, value.removeprefix("sha256:")[:12])


def _number(value: int) -> str:
    """A number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")
