"""What a plugin's code would need, as far as reading it tells: nothing is imported and nothing is run.

Static analysis of Python sees what is written down. Names that are put together at run time, native code and what a
dependency does are beyond it; places where code escapes it are named as *unseen*. It is made against accidents: whoever
means to hide something from it can.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from attestor.describing.known_names import (
    IMPORTERS,
    METHODS,
    NATIVE,
    NATIVE_MAGIC,
    RUNNERS,
    capability_of,
    holds_known_names,
    is_beyond,
)
from verifier.formats.manifest import Capability, HostPattern

SHOWN = 200
"""How many characters of a text are kept."""
PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
"""The schemes of which a host is told, and their usual ports."""

_ENVIRONMENT = frozenset({"os.environ.get", "os.getenv", "os.environ.pop", "os.environ.setdefault"})
_URL = re.compile(r"\b(https?|wss?)://[^\s'\"<>{}|\\^`]+")
_MODE = re.compile(r"[rwaxbtU+]{1,4}")
_SECRET = re.compile(r"(?i)(key|token|secret|password|passwd|credential)")


class Place(NamedTuple):
    """Where something stands: file, and line from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Destination(NamedTuple):
    """Whom a text names as an address: host, scheme of the manifest, port."""

    host: HostPattern
    scheme: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass
class Analysis:
    """What was seen, each with the places where.

    Attributes:
        uses: capability to places, with what was used there.
        imports: top-level module, not of the standard library nor of the plugin, to places.
        destinations: addresses in texts to places.
        variables: environment variables that are read by a name that is written down, to places.
        unseen: where code escapes the analysis: places and what stands there.
        broken: files that are no Python, and why.
        names: what each module defines at its top, by dotted module name.
        compiled: the dotted names of modules that are native code, whose names nobody can read.
    """

    uses: dict[Capability, list[tuple[Place, str]]] = field(default_factory=dict)
    imports: dict[str, list[Place]] = field(default_factory=dict)
    destinations: dict[Destination, list[Place]] = field(default_factory=dict)
    variables: dict[str, list[Place]] = field(default_factory=dict)
    unseen: list[tuple[Place, str]] = field(default_factory=list)
    broken: list[tuple[Place, str]] = field(default_factory=list)
    names: dict[str, frozenset[str]] = field(default_factory=dict)
    compiled: set[str] = field(default_factory=set)

    @property
    def secrets(self) -> list[str]:
        """The variables whose names sound like those of secrets."""
        return sorted(name for name in self.variables if _SECRET.search(name))


def analyse(files: Mapping[str, bytes]) -> Analysis:
    """Read a plugin's code.

    Args:
        files: path below the import root (``package/module.py``) to content; other files than Python's count only as
            native code.
    """
    found = Analysis()
    own = {path.partition("/")[0].removesuffix(".py") for path in files}
    for path, content in sorted(files.items()):
        if path.endswith(".py"):
            _read(found, path, content, own)
        elif path.endswith(NATIVE) or ".so." in path or content.startswith(NATIVE_MAGIC):
            found.uses.setdefault("native-code", []).append((Place(path, 1), "a compiled library"))
            folder, slash, name = path.rpartition("/")
            module = f"{folder}{slash}{name.partition('.')[0]}".removesuffix("/__init__")
            found.compiled.add(module.replace("/", "."))
    return found


def _read(found: Analysis, path: str, content: bytes, own: set[str]) -> None:
    try:
        tree = ast.parse(content, filename=path)
        reader = _Reader(found, path, own)
        reader.learn(tree)
        reader.visit(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        found.broken.append((Place(path, line), f"{type(error).__name__}: {str(error)[:SHOWN]!a}"))
        return
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    found.names[module] = frozenset(_defined(tree.body))


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """The names that a module's top level may bind."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
        else:
            nested = (
                node for node in ast.walk(statement) if isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef)
            )
            yield from (node.id if isinstance(node, ast.Name) else node.name for node in nested)


class _Reader(ast.NodeVisitor):
    """Walks one file, with what its names stand for."""

    def __init__(self, found: Analysis, path: str, own: set[str]) -> None:
        self._found, self._path, self._own = found, path, own
        self._means: dict[str, str] = {}

    def learn(self, tree: ast.AST) -> None:
        """What names mean that are imported further down, or elsewhere: a function may stand above the import."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._bind(node)

    def visit_Import(self, node: ast.Import) -> None:
        self._bind(node)
        for alias in node.names:
            self._import(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            return
        self._bind(node)
        for alias in node.names:
            self._use(f"{node.module}.{alias.name}", node)
            if alias.name == "*" and holds_known_names(node.module or ""):
                self._unseen(node, f"from {node.module} import *")
        self._import(node.module or "", node)

    def _bind(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                top = alias.name.partition(".")[0]
                self._means[alias.asname or top] = alias.name if alias.asname else top
            elif not node.level:
                self._means[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_Assign(self, node: ast.Assign) -> None:
        self._again(node.targets, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._again([node.target], node.value)
        self.generic_visit(node)

    def _again(self, targets: list[ast.expr] | list[ast.Name], value: ast.expr) -> None:
        """Another name for what was imported means the same."""
        meant = self._imported(value)
        if meant is not None and len(meant) <= SHOWN:
            self._means |= {target.id: meant for target in targets if isinstance(target, ast.Name)}

    def visit_Call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        if name in ("open", "io.open") or (isinstance(node.func, ast.Attribute) and node.func.attr == "open"):
            self._open(node, name)
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            self._add(METHODS[node.func.attr], node, f".{node.func.attr}()")
        if name in _ENVIRONMENT and node.args:
            self._variable(node.args[0])
        if name in IMPORTERS or name in RUNNERS:
            self._indirect(node, name)
            return
        if name == "getattr" and len(node.args) > 1:
            self._named(node, self._imported(node.args[0]), node.args[1])
        self.generic_visit(node)

    def _indirect(self, node: ast.Call, name: str) -> None:
        """A call that imports, or runs, what its first argument says: followed where that is written down."""
        text = _text(node.args[0]) if node.args else None
        try:
            code = None if text is None or name in IMPORTERS else ast.parse(text)
        except (SyntaxError, ValueError):
            code = None
        if text is not None and name in IMPORTERS and not text.startswith("."):
            self._import(text, node)
        elif code is not None:
            for inner in ast.walk(code):
                ast.copy_location(inner, node)
            self.learn(code)
            self.visit(code)
        else:
            self._unseen(node, f"{name}()")
        for argument in (*node.args[text is not None :], *(keyword.value for keyword in node.keywords)):
            self.visit(argument)

    def _named(self, node: ast.AST, module: str | None, name: ast.expr) -> None:
        """An attribute of an imported module that is taken by its name."""
        text = _text(name)
        if module is None:
            return
        if text is not None:
            self._use(f"{module}.{text}", node)
        elif holds_known_names(module):
            self._unseen(node, f"getattr({module}, …)")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        name = self._dotted(node.value)
        if name == "os.environ":
            self._variable(node.slice)
        if name == "sys.modules" and isinstance(node.ctx, ast.Load):
            text = _text(node.slice)
            if text is None:
                self._unseen(node, "sys.modules[…]")
            else:
                self._use(text, node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        if name is not None:
            self._use(name, node, beyond=self._imported(node) is not None)
            if name in IMPORTERS or name in RUNNERS:
                self._unseen(node, name)  # not called here, so nobody knows what with
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        meant = self._dotted(node)
        if isinstance(node.ctx, ast.Load) and (meant in IMPORTERS or meant in RUNNERS):
            self._unseen(node, meant)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring may name addresses that nobody calls
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            for match in _URL.finditer(node.value):
                destination = _destination(match[0])
                if destination is not None:
                    self._found.destinations.setdefault(destination, []).append(self._place(node))

    def _import(self, name: str, node: ast.AST) -> None:
        top = name.partition(".")[0]
        if top and top not in sys.stdlib_module_names and top not in self._own:
            self._found.imports.setdefault(top, []).append(self._place(node))
        self._use(name, node)

    def _use(self, name: str, node: ast.AST, *, beyond: bool = True) -> None:
        needed = capability_of(name)
        if needed is not None:
            self._add(needed[0], node, needed[1])
        if beyond and is_beyond(name):
            self._unseen(node, name)

    def _unseen(self, node: ast.AST, what: str) -> None:
        if (self._place(node), what) not in self._found.unseen[-8:]:
            self._found.unseen.append((self._place(node), what))

    def _open(self, node: ast.Call, name: str | None) -> None:
        """A call of a function ``open``, or of a method of that name that a mode tells to be a file's."""
        of_module = isinstance(node.func, ast.Name) or (name or "").rpartition(".")[0] in self._means.values()
        position = 1 if of_module else 0  # a path's own method has no path before the mode
        keywords = [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
        mode = keywords[0] if keywords else (node.args[position] if len(node.args) > position else None)
        text = None if mode is None else _text(mode)
        if not of_module and mode is not None and (text is None or not _MODE.fullmatch(text)):
            return  # a method that opens something else, such as a request
        reads = mode is None or (text is not None and not set(text) & set("wax+"))
        self._add("file-read" if reads else "file-write", node, "open()")  # a mode that is made at run time may write

    def _variable(self, node: ast.expr) -> None:
        text = _text(node)
        if text is not None:
            self._found.variables.setdefault(text[:SHOWN], []).append(self._place(node))

    def _add(self, capability: Capability, node: ast.AST, what: str) -> None:
        place = self._place(node)
        seen = self._found.uses.setdefault(capability, [])
        if (place, what) not in seen[-8:]:
            seen.append((place, what))

    def _dotted(self, node: ast.expr) -> str | None:
        """The dotted name that an expression stands for, its first part resolved through the imports."""
        imported = self._imported(node)
        if imported is not None:
            return imported
        root, rest = _parted(node)
        return ".".join([root.id, *rest]) if isinstance(root, ast.Name) else None

    def _imported(self, node: ast.expr) -> str | None:
        """The same of an expression that begins with something imported; else None."""
        root, rest = _parted(node)
        if isinstance(root, ast.Name) and root.id in self._means:
            module = self._means[root.id]
        elif isinstance(root, ast.Call) and root.args and self._dotted(root.func) in IMPORTERS:
            module = _text(root.args[0]) or "?"
        else:
            return None
        return ".".join([module, *rest]).removeprefix("builtins.")

    def _place(self, node: ast.AST) -> Place:
        return Place(self._path, getattr(node, "lineno", 1))


def _parted(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """What an expression with attributes begins with, and the attributes in order."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return node, parts[::-1]


def _text(node: ast.expr) -> str | None:
    """The text that is written down there; None where something else is."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _destination(url: str) -> Destination | None:
    try:
        parts = urlsplit(url)
        host = HostPattern((parts.hostname or "").lower())
        port = parts.port or PORTS[parts.scheme]
    except ValueError:  # an address with a gap that is filled at run time, or of another kind
        return None
    if "*" in host or ("." not in host and host != "localhost"):
        return None
    return Destination(host, "https" if parts.scheme in ("https", "wss") else "http", port)
