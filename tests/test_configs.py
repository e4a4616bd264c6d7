"""The configs of accelerate parse, and leave the dtype to caig."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_they_parse(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    kind = "FSDP" if path.stem.startswith("fsdp") else "MULTI_GPU"
    assert config.distributed_type == kind and config.num_processes > 1
    assert config.mixed_precision == "no"
    assert config.fsdp_config == ({"fsdp_version": 2} if kind == "FSDP" else {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data-parallel-cpu", "fsdp-cpu"])
def test_two_processes_of_the_cpu_are_two(name: str) -> None:
    """accelerate starts a single one for MULTI_CPU and says nothing."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"configs/{name}.yaml"]
    words = "from caig.recipes.processes import is_sharded, join_processes as join\n"
    words += "print(f'{join(\"cpu\", shards=True).num_processes} {is_sharded()};', end='')"
    command = [*launch, "--no_python", sys.executable, "-c", words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == 2 * f"2 {name == 'fsdp-cpu'};", done.stderr
