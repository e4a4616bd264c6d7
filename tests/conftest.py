"""What every test gets: no network, no hub, one thread. Tests marked `gpu` are skipped where CUDA is missing."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from tests.databases import database, postgres_server

__all__ = ["database", "postgres_server"]

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; tiny models gain nothing from more

LOCAL = {None, "", "localhost", "127.0.0.1", "::1"}


class NetworkDenied(RuntimeError):
    """A test reached for the network; not an OSError, so that no code under test takes it for a bad connection."""


def _deny_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.getaddrinfo"):
        return
    target = arguments[1] if event == "socket.connect" else arguments
    host = target[0] if isinstance(target, tuple) else None  # the path of a Unix socket is no tuple
    if (host.decode() if isinstance(host, bytes) else host) not in LOCAL:
        raise NetworkDenied(f"{event} to {host}: tests must not use the network")


sys.addaudithook(_deny_network)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
