"""The configs of accelerate: they parse, and a launch that would shard a model is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caig.errors import InputError
from tests.project import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_they_parse(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.distributed_type in ("MULTI_GPU", "MULTI_CPU") and config.num_processes > 1
    assert config.mixed_precision == "no"


def test_a_launch_that_would_shard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from caig.recipes import processes

    def sharded(**options: Any) -> Any:
        return SimpleNamespace(distributed_type=SimpleNamespace(value="FSDP"))

    monkeypatch.setattr(processes, "Accelerator", sharded)
    with pytest.raises(InputError, match="accelerate launch: expected data parallelism: .*, got FSDP. Use"):
        processes.join_processes("cpu")
