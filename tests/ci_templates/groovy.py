"""As much of Groovy as telling code from strings and comments takes."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/)"
    r"|(?P<string>'''(?:\\.|(?!''').)*'''|\"\"\"(?:\\.|(?!\"\"\").)*\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")"
    r"|(?P<code>.)",
    re.DOTALL,
)
_PAIRS = {")": "(", "]": "[", "}": "{"}
Block = dict[str, list["Block"]]


def code(text: str) -> str:
    """The text with every comment gone and every string emptied.

    Raises:
        ValueError: a quote or bracket is not closed.
    """
    kept = []
    for token in _TOKEN.finditer(text):
        if token["code"] in ("'", '"'):
            raise ValueError(f"a string is not closed at {token.start()}")
        kept.append(token["code"] or ("''" if token["string"] else ""))
    bare = "".join(kept)
    _check_brackets(bare)
    return bare


def blocks(bare: str) -> Block:
    """The nested blocks of code: the word before each ``{``, to what stands inside, a list for a word used twice."""
    root: Block = {}
    stack = [root]
    for match in re.finditer(r"(\w+)\s*(?:\([^{}]*\))?\s*\{|\}|\{", bare):
        if match[0] == "}":
            stack.pop()
            continue
        inner: Block = {}
        stack[-1].setdefault(match[1] or "", []).append(inner)
        stack.append(inner)
    return root


def _check_brackets(bare: str) -> None:
    opened = []
    for place, sign in enumerate(bare):
        if sign in _PAIRS.values():
            opened.append(sign)
        elif sign in _PAIRS and (not opened or opened.pop() != _PAIRS[sign]):
            raise ValueError(f"{sign!r} closes nothing at {place}")
    if opened:
        raise ValueError(f"{opened[-1]!r} is not closed")
