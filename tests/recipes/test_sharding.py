"""Training on two CPU processes that hold a share of the model each: the run ends as on one that holds it whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import patch_environment
from safetensors.torch import load_file
from torch import Tensor

from caig.errors import InputError
from caig.recipes import background, pretrain
from caig.recipes.processes import join_processes
from caig.recipes.training import load_checkpoint
from tests.models.architectures import ARCHITECTURES, write
from tests.project import ROOT
from tests.recipes import test_pretrain as prompts
from tests.recipes import test_reward as rewards
from tests.recipes.launching import cut_after, cut_and_join, in_two, step_in_shards, train, tune
from tests.recipes.pcpo_toys import write_prompt_model, write_shelf
from tests.recipes.test_processes import assert_same, largest_gap

PROCESSES = "caig.recipes.processes"
WITHIN = 1e-5  # weights, which are below 10
data = prompts.data
clicks = rewards.data


def assert_close(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> None:
    """The same weights, within WITHIN."""
    print(f"{len(one)} weights: required within {WITHIN:.0e}; measured {largest_gap(one, two):.1e}")
    assert one.keys() == two.keys() and largest_gap(one, two) < WITHIN


def launch(*words: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch --config_file configs/fsdp-cpu.yaml -m caig …`."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "configs/fsdp-cpu.yaml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, "-m", "caig", *words], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_each_process_holds_a_share_and_what_is_written_is_whole(tmp_path: Path) -> None:
    in_two(cut_and_join, tmp_path, shards=True)
    first, second = (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in (0, 1))
    sizes = {name: value.numel() for name, value in first["before"].items()}
    cut = [name for name in first["held"] if ".layers." in name and "language_model" in name]
    assert len(cut) > 9 and any("lora_A" in name for name in cut)
    for name, held in first["held"].items():
        wanted = sizes[name] if name in cut else 2 * sizes[name]
        assert held + second["held"][name] == wanted, name
    shares = [sum(found["held"][name] for name in cut) / sum(sizes[name] for name in cut) for found in (first, second)]
    print(f"shares of the layers: required 0.5 within 0.02; measured {shares}")
    assert shares == pytest.approx([0.5, 0.5], abs=0.02)
    for name in first["before"]:
        assert torch.equal(first["whole"][name], first["before"][name])
        assert torch.equal(first["joined"][name], first["before"][name])
    assert all(second["whole"][name] is None for name in cut), "one copy on a machine is enough"
    assert first["kinds"] == {"LlamaDecoderLayer"} and second["kinds"] == {"FSDPLlamaDecoderLayer"}
    learning = sum(sizes[name] for name in sizes if "lora_" in name or "embed_tokens" in name)
    assert [[row.tolist() for row in found["said"]] for found in (first, second)] == [
        [[1, 1], [1, 1]],
        [[2, 2], [1, 1]],
    ]
    assert first["scale"] == second["scale"] == pytest.approx(learning**-0.5, rel=1e-4)


def test_prompt(data: Path, tmp_path: Path) -> None:
    """Every kind of step: two processes with a share each begin and are cut, and one goes on."""
    config = prompts.toy(data, tmp_path / "one", batch=3, answers=1, layers=2)
    train("pretrain", config)
    in_two(cut_after, 3, PROCESSES, train, "pretrain", replace(config, out=tmp_path / "two"), shards=True)
    assert torch.load(tmp_path / "two/checkpoint.pt", weights_only=True)["step"] == 2
    train("pretrain", replace(config, out=tmp_path / "two"))
    assert_same(tmp_path / "one", tmp_path / "two")
    assert_close(prompts.weights(tmp_path / "one"), prompts.weights(tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [0, 3])
def test_prompt_resumed_in_shards(data: Path, tmp_path: Path, lora_rank: int) -> None:
    """One process begins; two with a share each go on, are cut, and go on again."""
    more = {"start_from": "embedded-pretrained", "picture_steps": 0, "checkpointing": True}
    adapter = {"lora_rank": lora_rank, **more} if lora_rank else {}
    config = prompts.toy(data, tmp_path / "one", batch=3, layers=2, steps=8, **adapter)
    train("pretrain", config)
    two = replace(config, out=tmp_path / "two")
    cut_after(3, PROCESSES, train, "pretrain", two)
    in_two(cut_after, 3, PROCESSES, train, "pretrain", two, shards=True)
    assert torch.load(tmp_path / "two/checkpoint.pt", weights_only=True)["step"] == 4
    in_two(train, "pretrain", two, shards=True)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert_close(prompts.weights(tmp_path / "one"), prompts.weights(tmp_path / "two"))
    name = "adapter_model.safetensors" if lora_rank else "model.safetensors"
    exported = [load_file(tmp_path / k / "model" / name) for k in ("one", "two")]
    assert_close(*exported)


@pytest.mark.slow
def test_prompt_by_the_command(data: Path, tmp_path: Path) -> None:
    config = prompts.toy(data, tmp_path / "one")
    pretrain.run(config)
    options = {k: v for k, v in vars(config).items() if v != getattr(pretrain.Config(out=Path()), k) and k != "out"}
    words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    done = launch("train", "prompt", *words, "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"form": "joint"}, {"tune": "lora"}, {"tune": "full"}], ids=str)
def test_reward(clicks: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    config = rewards.toy(clicks, tmp_path / "one", pictures=3, steps=6, **change)
    train("reward", config)
    in_two(cut_after, 5, PROCESSES, train, "reward", replace(config, out=tmp_path / "two"), shards=True)
    in_two(train, "reward", replace(config, out=tmp_path / "two"), shards=True)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert_close(rewards.weights(tmp_path / "one"), rewards.weights(tmp_path / "two"))
    first, second = (json.loads((tmp_path / k / "model/reward.json").read_text()) for k in ("one", "two"))
    assert first["slope"] == pytest.approx(second["slope"], rel=1e-2)


@pytest.mark.slow
def test_pcpo(tmp_path: Path) -> None:
    """Descriptions, log and adapters are those of one process; cut in the second round, exactly the uncut ones."""
    base, shelf = write_prompt_model(tmp_path / "base"), tmp_path / "shelf"
    write_shelf(shelf)
    tune(base, tmp_path / "one", shelf)
    in_two(tune, base, tmp_path / "two", shelf, shards=True)
    assert_same(tmp_path / "one", tmp_path / "two")
    for r in (0, 1):
        drafts = [json.loads((tmp_path / k / f"rounds/{r}/drafts.json").read_text()) for k in ("one", "two")]
        assert drafts[0] == drafts[1]
    assert (tmp_path / "two/rounds/0/pictures-2-of-2.json").is_file(), "painting is shared"
    in_two(cut_after, 5, "caig.recipes.pcpo_update", tune, base, tmp_path / "three", shelf, shards=True)
    assert not (tmp_path / "three/rounds/1/update.pt").exists()
    in_two(tune, base, tmp_path / "three", shelf, shards=True)
    one, two, three = (load_checkpoint(tmp_path / k / "rounds/1/update.pt") or {} for k in ("one", "two", "three"))
    assert_close(one["adapter"], two["adapter"])
    assert largest_gap(two["adapter"], three["adapter"]) == 0
    assert (tmp_path / "three/best/adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_architectures(tmp_path: Path) -> None:
    """Gradients of one step, and the joined model, of every architecture that loads by name."""
    folders = {name: write(name, tmp_path / name) for name in ARCHITECTURES}
    in_two(step_in_shards, folders, tmp_path / "found.pt", shards=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert len(found) == 2 * len(ARCHITECTURES)
    for name, (gap, joined) in found.items():
        print(f"{name}: gradients required within 1e-4 of the largest; measured {gap:.1e}")
        assert gap < 1e-4 and joined == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"accelerate_use_deepspeed": "true"}, "expected data parallelism or FSDP 2, got DeepSpeed.*configs/fsdp.yaml"),
        ({"accelerate_use_fsdp": "true"}, "got FSDP 1. Use configs/fsdp.yaml"),
    ],
)
def test_other_ways_to_shard_are_refused(flags: dict[str, str], told: str) -> None:
    with patch_environment(**flags), pytest.raises(InputError, match=told):
        join_processes("cpu", shards=True)


def test_a_recipe_whose_models_fit_is_not_sharded(tmp_path: Path) -> None:
    with (
        patch_environment(accelerate_use_fsdp="true", fsdp_version="2"),
        pytest.raises(InputError, match="expected data parallelism, got FSDP. Use configs/data-parallel.yaml"),
    ):
        background.run(background.Config(data=tmp_path, out=tmp_path))
