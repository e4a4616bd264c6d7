"""The configs of accelerate parse, and leave the dtype to caig."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_they_parse(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    kind = "FSDP" if path.stem.startswith("fsdp") else "MULTI_CPU" if config.use_cpu else "MULTI_GPU"
    assert config.distributed_type == kind and config.num_processes > 1
    assert config.mixed_precision == "no"
    assert config.fsdp_config == ({"fsdp_version": 2} if kind == "FSDP" else {})
