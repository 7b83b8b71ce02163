"""What a plugin's code would need, as far as reading it tells: nothing is imported and nothing is run.

Static analysis of Python sees what is written down. Names that are put together at run time, native code and what a
dependency does are beyond it; places where code escapes it on purpose are named as *unseen*.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from verifier.formats.manifest import Capability, HostPattern

SHOWN = 200
"""How many characters of a text are kept."""
PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
"""The schemes of which a host is told, and their usual ports."""

# A name stands for itself and for everything below it.
_MODULES: dict[str, Capability] = {
    **dict.fromkeys(
        (
            "socket", "ssl", "socketserver", "http.client", "http.server", "urllib.request", "ftplib", "smtplib",
            "imaplib", "poplib", "telnetlib", "nntplib", "xmlrpc.client", "asyncio.open_connection",
            "asyncio.start_server", "asyncio.open_unix_connection", "requests", "httpx", "httpcore", "aiohttp",
            "urllib3", "websockets", "websocket", "grpc", "paramiko", "asyncssh", "boto3", "botocore", "aiobotocore",
            "azure", "google.cloud", "openai", "anthropic", "psycopg", "psycopg2", "asyncpg", "pymysql", "mysql",
            "pyodbc", "redis", "pymongo", "motor", "kafka", "aiokafka", "confluent_kafka", "pika", "elasticsearch",
            "opensearchpy", "ldap3", "dns", "tornado", "twisted", "trio.open_tcp_stream", "zmq", "pycurl",
            "snowflake", "pysftp",
        ),
        "network",
    ),
    **dict.fromkeys(
        (
            "subprocess", "pty", "os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp", "os.fork", "os.execv",
            "os.execve", "os.execvp", "os.execl", "os.execlp", "os.spawnv", "os.spawnl", "os.startfile",
            "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "pexpect", "sh", "plumbum",
            "multiprocessing",
        ),
        "subprocess",
    ),
    **dict.fromkeys(("os.environ", "os.getenv", "os.putenv", "os.environb", "dotenv"), "environment"),
    **dict.fromkeys(("ctypes", "cffi", "_ctypes", "numba", "mmap"), "native-code"),
    **dict.fromkeys(
        (
            "os.listdir", "os.scandir", "os.walk", "os.readlink", "glob", "fileinput", "linecache", "os.open",
        ),
        "file-read",
    ),
    **dict.fromkeys(
        (
            "os.remove", "os.unlink", "os.rename", "os.replace", "os.mkdir", "os.makedirs", "os.rmdir", "os.chmod",
            "os.chown", "os.link", "os.symlink", "os.truncate", "shutil", "tempfile", "sqlite3", "dbm", "shelve",
        ),
        "file-write",
    ),
    **dict.fromkeys(("logging", "structlog", "loguru"), "logging"),
    **dict.fromkeys(("prometheus_client", "statsd", "opentelemetry.metrics", "datadog"), "metrics"),
}  # fmt: skip
_METHODS: dict[str, Capability] = {
    **dict.fromkeys(("read_text", "read_bytes", "iterdir", "rglob"), "file-read"),
    **dict.fromkeys(("write_text", "write_bytes", "unlink", "touch", "mkdir", "rmdir", "symlink_to"), "file-write"),
}
_UNSEEN = frozenset(
    {"eval", "exec", "compile", "__import__", "importlib.import_module", "runpy", "pickle.loads", "marshal"}
)
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
    """

    uses: dict[Capability, list[tuple[Place, str]]] = field(default_factory=dict)
    imports: dict[str, list[Place]] = field(default_factory=dict)
    destinations: dict[Destination, list[Place]] = field(default_factory=dict)
    variables: dict[str, list[Place]] = field(default_factory=dict)
    unseen: list[tuple[Place, str]] = field(default_factory=list)
    broken: list[tuple[Place, str]] = field(default_factory=list)
    names: dict[str, frozenset[str]] = field(default_factory=dict)

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
        if path.endswith((".so", ".pyd", ".dylib")) or ".so." in path:
            found.uses.setdefault("native-code", []).append((Place(path, 1), "a compiled library"))
        if path.endswith(".py"):
            _read(found, path, content, own)
    return found


def _read(found: Analysis, path: str, content: bytes, own: set[str]) -> None:
    try:
        tree = ast.parse(content, filename=path)
        _Reader(found, path, own).visit(tree)
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

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._means[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )
            self._import(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            return
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            self._means[alias.asname or alias.name] = name
            self._use(name, node)
        self._import(node.module or "", node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        if name in ("open", "io.open") or (isinstance(node.func, ast.Attribute) and node.func.attr == "open"):
            self._open(node, name)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            self._add(_METHODS[node.func.attr], node, f".{node.func.attr}()")
        if name in _ENVIRONMENT and node.args:
            self._variable(node.args[0])
        if name is not None and (name in _UNSEEN or name.partition(".")[0] in _UNSEEN) and not _constant(node):
            self._found.unseen.append((self._place(node), f"{name}()"))
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._dotted(node.value) == "os.environ":
            self._variable(node.slice)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        if name is not None:
            self._use(name, node)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring may name addresses that nobody calls
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            for match in _URL.finditer(node.value):
                destination = _destination(match[0])
                if destination is not None:
                    self._found.destinations.setdefault(destination, []).append(self._place(node))

    def _import(self, name: str, node: ast.stmt) -> None:
        top = name.partition(".")[0]
        if top and top not in sys.stdlib_module_names and top not in self._own:
            self._found.imports.setdefault(top, []).append(self._place(node))
        self._use(name, node)

    def _use(self, name: str, node: ast.AST) -> None:
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            capability = _MODULES.get(".".join(parts[:length]))
            if capability is not None:
                self._add(capability, node, ".".join(parts[:length]))
                return

    def _open(self, node: ast.Call, name: str | None) -> None:
        """A call of a function ``open``, or of a method of that name that a mode tells to be a file's."""
        of_module = isinstance(node.func, ast.Name) or (name or "").rpartition(".")[0] in self._means.values()
        position = 1 if of_module else 0  # a path's own method has no path before the mode
        keywords = [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
        mode = keywords[0] if keywords else (node.args[position] if len(node.args) > position else None)
        text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else None
        if not of_module and mode is not None and (text is None or not _MODE.fullmatch(text)):
            return  # a method that opens something else, such as a request
        reads = mode is None or (text is not None and not set(text) & set("wax+"))
        self._add("file-read" if reads else "file-write", node, "open()")  # a mode that is made at run time may write

    def _variable(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._found.variables.setdefault(node.value[:SHOWN], []).append(self._place(node))

    def _add(self, capability: Capability, node: ast.AST, what: str) -> None:
        place = self._place(node)
        seen = self._found.uses.setdefault(capability, [])
        if (place, what) not in seen[-8:]:
            seen.append((place, what))

    def _dotted(self, node: ast.expr) -> str | None:
        """The dotted name that an expression stands for, its first part resolved through the imports."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self._means.get(node.id, node.id), *reversed(parts)])

    def _place(self, node: ast.AST) -> Place:
        return Place(self._path, getattr(node, "lineno", 1))


def _constant(node: ast.Call) -> bool:
    """Whether a call's first argument is a plain text, so that what it names is written down."""
    return bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)


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
