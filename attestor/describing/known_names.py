"""Names of Python that stand for a capability, and names behind which analysis cannot look."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from verifier.formats.manifest import Capability

# A name stands for itself and for everything below it.
MODULES: Final[dict[str, Capability]] = {
    **dict.fromkeys(
        (
            "socket", "_socket", "ssl", "_ssl", "socketserver", "http.client", "http.server", "urllib.request",
            "ftplib", "smtplib", "imaplib", "poplib", "telnetlib", "nntplib", "xmlrpc.client",
            "asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection",
            "asyncio.start_unix_server",
            "logging.handlers.SocketHandler", "logging.handlers.DatagramHandler", "logging.handlers.SysLogHandler",
            "logging.handlers.SMTPHandler", "logging.handlers.HTTPHandler", "requests", "httpx", "httpcore", "aiohttp",
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
            "subprocess", "pty", "os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp", "os.fork", "os.forkpty",
            "os.execv", "os.execve", "os.execvp", "os.execvpe", "os.execl", "os.execle", "os.execlp", "os.execlpe",
            "os.spawnv", "os.spawnve", "os.spawnvp", "os.spawnvpe", "os.spawnl", "os.spawnle", "os.spawnlp",
            "os.spawnlpe", "os.startfile", "_posixsubprocess", "concurrent.futures.ProcessPoolExecutor",
            "concurrent.futures.process",
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
            "logging.FileHandler", "logging.handlers.RotatingFileHandler", "logging.handlers.TimedRotatingFileHandler",
            "logging.handlers.WatchedFileHandler",
        ),
        "file-write",
    ),
    **dict.fromkeys(("logging", "structlog", "loguru"), "logging"),
    **dict.fromkeys(("prometheus_client", "statsd", "opentelemetry.metrics", "datadog"), "metrics"),
}  # fmt: skip
METHODS: Final[dict[str, Capability]] = {
    **dict.fromkeys(("read_text", "read_bytes", "iterdir", "rglob"), "file-read"),
    **dict.fromkeys(("write_text", "write_bytes", "unlink", "touch", "mkdir", "rmdir", "symlink_to"), "file-write"),
    **dict.fromkeys(("create_connection", "create_datagram_endpoint", "create_unix_connection"), "network"),
    **dict.fromkeys(("subprocess_exec", "subprocess_shell"), "subprocess"),
}
IMPORTERS: Final = frozenset({"__import__", "importlib.__import__", "importlib.import_module"})
"""Functions that import the module which their first argument names."""
RUNNERS: Final = frozenset({"eval", "exec", "compile"})
"""Functions that take code as their first argument."""
BEYOND: Final = frozenset(
    {
        "runpy", "marshal", "pickle.load", "pickle.loads", "pickle.Unpickler", "dill", "cloudpickle", "joblib.load",
        "code", "codeop", "imp", "zipimport", "pydoc.locate", "pkgutil.resolve_name",
        "importlib.util.spec_from_file_location", "importlib.util.spec_from_loader",
        "importlib.machinery.SourceFileLoader", "importlib.machinery.SourcelessFileLoader",
        "importlib.machinery.ExtensionFileLoader", "importlib.metadata.entry_points", "pkg_resources.iter_entry_points",
    }
)  # fmt: skip
"""What runs or makes code that is written elsewhere, whatever it is called with."""
NATIVE: Final = (".so", ".pyd", ".dylib", ".dll", ".pyx", ".rs")
"""How files end that are native code, or are compiled to it."""
NATIVE_MAGIC: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\0asm")
"""How native code begins, whatever its file is called: ELF, Mach-O, WebAssembly."""
_BELOW: Final = frozenset(
    name[: place.start()] for name in (*MODULES, *IMPORTERS, *BEYOND) for place in re.finditer(r"\.", name)
)


def capability_of(name: str) -> tuple[Capability, str] | None:
    """The capability that a dotted name needs, and the part of the name that says so."""
    said = _known(name, MODULES)
    return (MODULES[said], said) if said else None


def is_beyond(name: str) -> bool:
    """Whether a dotted name stands for something that analysis cannot look behind."""
    return _known(name, BEYOND) is not None


def holds_known_names(module: str) -> bool:
    """Whether a module has names of which any of these tables tells."""
    return module in _BELOW


def _known(name: str, table: Container[str]) -> str | None:
    """The longest beginning of a dotted name that a table has; the module below ``os`` has the names of ``os``."""
    first, dot, rest = name.partition(".")
    parts = (f"os{dot}{rest}" if first in ("posix", "nt") else name).split(".")
    return next((said for length in range(len(parts), 0, -1) if (said := ".".join(parts[:length])) in table), None)
