"""What the service's tests share."""

from __future__ import annotations

from tests.crl_server.engines import engine, used_again

__all__ = ["engine", "used_again"]
