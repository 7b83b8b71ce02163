"""Storage of S3's kind: moto's server as a process of its own on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import urllib3

from tests.waiting import free_port, until

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test-id",
    "AWS_SECRET_ACCESS_KEY": "test-key",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
BUCKET = "acme-lists"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    ],
}
"""Anybody may read, as hosts do."""


class Storage:
    """One server; :meth:`start` and :meth:`stop` may be called again and again."""

    def __init__(self, **environment: str) -> None:
        self._environment = os.environ | environment
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._pool = urllib3.PoolManager(retries=False)

    @property
    def stopped(self) -> bool:
        """Whether it does not run."""
        return self._process is None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the storage ended by itself"
        try:
            return self._pool.request("GET", f"{self.endpoint}/moto-api/").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def reset(self) -> None:
        """Forget everything, and make the bucket anew."""
        self._pool.request("POST", f"{self.endpoint}/moto-api/reset")
        client = self.client()
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))

    def client(self, **more: Any) -> Any:
        """A client of boto3's."""
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **more)

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._pool.clear()


@contextmanager
def storage(**environment: str) -> Iterator[Storage]:
    """A server that runs while inside the block, with more variables in its environment."""
    running = Storage(**environment)
    try:
        running.start()
        yield running
    finally:
        running.close()
