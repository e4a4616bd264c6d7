"""Tiny checkpoints of every architecture, each written once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.models.architectures import write


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an architecture's checkpoint, to be read only."""
    return cache(lambda name: write(name, tmp_path_factory.mktemp("checkpoint")))
