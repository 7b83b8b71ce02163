"""A visitor without JavaScript: a real HTTP client with cookies, that follows nothing and forges what a test wants."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from tests.crl_server.live import Answer, Live


class Forms(HTMLParser):
    """The forms of a page: action to the fields that the page itself fills in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.fields = self.found[given.get("action") or ""] = {}
        elif tag == "input" and given.get("type") == "hidden":
            self.fields[given.get("name") or ""] = given.get("value") or ""


class Visitor:
    """Somebody with a cookie jar.

    Attributes:
        cookies: what the server has set, by name.
    """

    def __init__(self, live: Live, token: str = "") -> None:
        self.live = live
        self.cookies: dict[str, str] = {}
        if token:
            answer = self.post("/login", {"token": token, "next": "/"})
            assert answer.status == 303, answer.body

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """A page."""
        return self._sent(self.live.ask("GET", f"/console{path}", headers=self._headers() | (headers or {})))

    def page(self, path: str) -> str:
        """The text of a page that is there."""
        answer = self.get(path)
        assert answer.status == 200, (path, answer.status, answer.body[-2000:])
        return answer.body.decode()

    def post(self, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        """A form, as a browser sends it from a page of the console."""
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.live.address}
        body = urlencode(fields).encode()
        return self._sent(
            self.live.ask("POST", f"/console{path}", body=body, headers=self._headers() | sent | (headers or {}))
        )

    def fields(self, page: str, action: str) -> dict[str, str]:
        """The hidden fields of one of a page's forms."""
        return Forms(page).found[f"/console{action}"]

    def _headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _sent(self, answer: Answer) -> Answer:
        for line in re.split(r", (?=[A-Za-z_-]+=)", answer.headers.get("set-cookie", "")):
            name, _, value = line.partition(";")[0].partition("=")
            if name:
                self.cookies[name] = value.strip('"')
                if "Max-Age=0" in line:
                    del self.cookies[name]
        return answer
