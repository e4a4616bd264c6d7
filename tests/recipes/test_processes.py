"""Training on two CPU processes: the batch of each step is shared, and the run ends as on one."""

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
from torch import Tensor

from caig.errors import InputError
from caig.models.reward_model import save_reward, width_of
from caig.models.utility import Utility
from caig.recipes import pretrain, reward
from caig.recipes.processes import _share, join_processes, own_rows, whole
from caig.recipes.reward import report
from tests.project import ROOT
from tests.recipes import test_background as backgrounds
from tests.recipes import test_pretrain as prompts
from tests.recipes import test_reward as rewards
from tests.recipes.launching import in_two, square_of_a_sum, train, tune
from tests.recipes.pcpo_toys import write_prompt_model, write_shelf

TOLERANCE = 1e-4  # of what the log says, relative above 1: float32 adds up in another order
data = prompts.data
clicks = rewards.data


def told(path: Path) -> list[dict[str, float]]:
    """The numbers of a log, in order, without times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if isinstance(v, float) and "seconds" not in k} for line in lines]


def assert_same(one: Path, two: Path) -> None:
    """Both logs tell the same, line by line, within TOLERANCE."""
    first, second = told(one / "log.jsonl"), told(two / "log.jsonl")
    assert len(first) == len(second) > 0 and any(first)
    gaps = [
        abs(line[k] - other[k]) / max(abs(line[k]), 1) for line, other in zip(first, second, strict=True) for k in line
    ]
    print(f"required within {TOLERANCE:.0e}; measured {max(gaps):.1e} over {len(gaps)} numbers")
    assert max(gaps) < TOLERANCE


def largest_gap(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    return max((one[name].float() - two[name].float()).abs().max().item() for name in one if one[name].numel())


@pytest.mark.parametrize(
    ("processes", "count", "shares"),
    [(1, 5, [(0, 5)]), (2, 4, [(0, 2), (2, 4)]), (3, 7, [(0, 3), (3, 5), (5, 7)]), (2, 1, [(0, 1), (1, 1)])],
)
def test_shares(processes: int, count: int, shares: list[tuple[int, int]]) -> None:
    assert [_share(rank, processes, count) for rank in range(processes)] == shares


def test_a_process_alone_has_every_row() -> None:
    rows = torch.arange(6.0).view(3, 2)
    for alone in (None, join_processes("cpu")):
        assert own_rows(alone, 3) == slice(0, 3) and whole(alone, rows, 3) is rows
    with pytest.raises(InputError, match="--device: expected cpu, or a device that torch finds"):
        join_processes("abacus")


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_are_those_of_the_whole_batch(count: int, tmp_path: Path) -> None:
    """d/dw (w s)^2 = 2 w s^2 with s the sum of 1 to count, w = 2; with one row the second process has none."""
    in_two(square_of_a_sum, tmp_path, count)
    total = count * (count + 1) / 2
    for found in (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in (0, 1)):
        assert found["gradient"].item() == 4 * total**2
        assert found["rows"].flatten().tolist() == [2.0 * x for x in range(1, count + 1)]
        assert found["told"].startswith("accelerate launch: expected one process to train a vision tower with batch")


@pytest.mark.slow
def test_prompt_by_the_command(data: Path, tmp_path: Path) -> None:
    """`accelerate launch … -m caig train prompt` on two processes, odd batches, pictures and answers."""
    config = prompts.toy(data, tmp_path / "one", batch=3, steps=20, picture_steps=6, checkpoint_every=5)
    pretrain.run(config)
    options = {k: v for k, v in vars(config).items() if v != getattr(pretrain.Config(out=Path()), k) and k != "out"}
    words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    configured = ["--config_file", "configs/data-parallel-cpu.yaml"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *configured, "-m", "caig"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, "train", "prompt", *words, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "one", tmp_path / "two")
    one, two = (torch.load(tmp_path / k / "checkpoint.pt", weights_only=True)["model"] for k in ("one", "two"))
    print(f"largest gap between weights {largest_gap(one, two):.1e}")
    assert (tmp_path / "two/model/model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["siamese", "joint", "taught by shops"])
def test_reward(clicks: Path, tmp_path: Path, form: Any) -> None:
    fields = {"patch_dropout": 0.3, "pictures": 3, "steps": 20}
    if form == "taught by shops":  # their prior counts once, not once a process
        fields |= {
            "backbone": str(write_taught(clicks, tmp_path)),
            "clicks": few(clicks),
            "head_lr": 0.1,
            "tune": "heads",
        }
    else:
        fields["form"] = form
    config = rewards.toy(clicks, tmp_path / "one", **fields)
    train("reward", config)
    in_two(train, "reward", replace(config, out=tmp_path / "two"))
    assert_same(tmp_path / "one", tmp_path / "two")
    one, two = (torch.load(tmp_path / k / "checkpoint.pt", weights_only=True)["network"] for k in ("one", "two"))
    print(f"largest gap between weights {largest_gap(one, two):.1e}")
    assert largest_gap(one, two) < TOLERANCE
    first, second = (json.loads((tmp_path / k / "model/reward.json").read_text()) for k in ("one", "two"))
    assert first["slope"] == pytest.approx(second["slope"], rel=1e-2)


def few(clicks: Path) -> Path:
    """The log with a hundredth of its impressions and clicks."""
    header, *rows = (line.split(",") for line in (clicks / "clicks.csv").read_text().splitlines())
    fewer = [[*row[:3], str(int(row[3]) // 100), str(int(row[4]) // 100)] for row in rows]
    (clicks / "few.csv").write_text("\n".join(map(",".join, [header, *fewer])) + "\n")
    return clicks / "few.csv"


def write_taught(clicks: Path, folder: Path) -> Path:
    """The toy backbone with heads that know three shops."""
    config = rewards.toy(clicks, folder)
    network, processor, side = reward.build(config)
    shops = Utility(width_of(network.backbone), 3)
    network.heads["utility"] = shops.taught(config.members)
    save_reward(network, processor, report.uncalibrated(config, side), folder / "taught")
    return folder / "taught"


@pytest.mark.slow
def test_background(tmp_path: Path) -> None:
    """Every leg: after three steps its weights are those of one process."""
    legs = dict.fromkeys(("autoencoder", "decoder", "controlnet"), 3)
    steps = {f"{leg}_steps": count for leg, count in legs.items()} | {"coarse_unet_steps": 2, "unet_steps": 1}
    config = backgrounds.toy(tmp_path / "one", dropout=0.0, unet_batch=3, **steps)
    train("background", config)
    in_two(train, "background", replace(config, out=tmp_path / "two"))
    for leg in (*legs, "unet"):
        one, two = (torch.load(tmp_path / k / f"{leg}.pt", weights_only=True)["model"] for k in ("one", "two"))
        print(f"{leg}: required within {TOLERANCE:.0e}; measured {largest_gap(one, two):.1e}")
        assert largest_gap(one, two) < TOLERANCE
    assert (tmp_path / "two/model/sampling.json").is_file()


@pytest.mark.slow
def test_pcpo(tmp_path: Path) -> None:
    """Batches of 3 and 2 products on two processes: work is shared, and both end with the adapter of one."""
    base = write_prompt_model(tmp_path / "base")
    write_shelf(tmp_path / "shelf")
    tune(base, tmp_path / "one", tmp_path / "shelf")
    in_two(tune, base, tmp_path / "two", tmp_path / "shelf")
    assert_same(tmp_path / "one", tmp_path / "two")
    alone, first, second = (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in ("one-0", "two-0", "two-1"))
    assert first and all(torch.equal(first[name], second[name]) for name in first)
    print(f"adapters: largest gap {largest_gap(alone, first):.1e}")
    parts = [json.loads((tmp_path / f"two/rounds/0/drafts-{k}-of-2.json").read_text()) for k in (1, 2)]
    assert [len(part) for part in parts] == [3, 2] and not parts[0].keys() & parts[1].keys()
    drafts = json.loads((tmp_path / "one/rounds/1/drafts.json").read_text())
    again = [json.loads((tmp_path / f"two/rounds/1/drafts-{k}-of-2.json").read_text()) for k in (1, 2)]
    assert drafts == again[0] | again[1], "after an update too the descriptions are those of one process"
    assert (tmp_path / "two/best/adapter_model.safetensors").is_file() and (tmp_path / "two/index.html").is_file()
