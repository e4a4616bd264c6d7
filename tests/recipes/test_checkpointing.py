"""Activations that are computed again: each recipe of a language model ends as it does with those it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from caig.recipes import pcpo, pretrain, reward
from caig.recipes.training import load_checkpoint
from tests.recipes import test_pretrain as prompts
from tests.recipes import test_reward as rewards
from tests.recipes.pcpo_toys import models, toy, write_prompt_model, write_shelf

data = prompts.data
clicks = rewards.data


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """An entry for each time that a layer works: whether within a backward pass."""
    calls: list[bool] = []
    plain = LlamaMLP.forward

    def forward(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(torch._C._current_graph_task_id() >= 0)
        return plain(self, *arguments, **options)

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    return calls


def assert_recomputed(calls: list[bool], kept: Any, again: Any, within: float = 1e-5) -> None:
    """Layers worked within backward passes, and the weights are the same."""
    gap = max((kept[name] - again[name]).abs().max().item() for name in kept if kept[name].numel())
    print(f"{sum(calls)} of {len(calls)} passes again; weights required within {within:.0e}, measured {gap:.1e}")
    assert any(calls) and gap < within


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_prompt(data: Path, tmp_path: Path, recomputed: list[bool], lora_rank: int) -> None:
    adapter = {"lora_rank": lora_rank, "start_from": "embedded-pretrained", "picture_steps": 0} if lora_rank else {}
    pretrain.run(prompts.toy(data, tmp_path / "kept", steps=3, **adapter))
    assert not any(recomputed)
    pretrain.run(prompts.toy(data, tmp_path / "again", steps=3, checkpointing=True, **adapter))
    assert_recomputed(recomputed, prompts.weights(tmp_path / "kept"), prompts.weights(tmp_path / "again"))


def test_reward(clicks: Path, tmp_path: Path, recomputed: list[bool]) -> None:
    reward.run(rewards.toy(clicks, tmp_path / "kept"))
    assert not any(recomputed)
    reward.run(rewards.toy(clicks, tmp_path / "again", checkpointing=True))
    assert_recomputed(recomputed, rewards.weights(tmp_path / "kept"), rewards.weights(tmp_path / "again"))


def test_pcpo(tmp_path: Path, recomputed: list[bool]) -> None:
    base, shelf = write_prompt_model(tmp_path / "base"), write_shelf(tmp_path / "shelf")
    pcpo.optimise(toy(base, tmp_path / "kept", rounds=1), shelf, models())
    assert not any(recomputed)
    pcpo.optimise(toy(base, tmp_path / "again", rounds=1, checkpointing=True), shelf, models())
    kept, again = (load_checkpoint(tmp_path / k / "rounds/0/update.pt") or {} for k in ("kept", "again"))
    assert_recomputed(recomputed, kept["adapter"], again["adapter"], within=1e-3)  # steps of 5e-3
