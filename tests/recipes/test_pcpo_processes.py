"""Preference optimisation on two CPU processes: work is shared, and both end with the same adapter."""

import json
from pathlib import Path

import pytest
import torch

from tests.recipes.pcpo_toys import models, toy, write_prompt_model, write_shelf


def _train(base: Path, out: Path, shelf: Path) -> None:
    from caig.recipes import pcpo, pcpo_update

    plain = pcpo_update.export

    def export(policy, best):
        mine = {name: value.detach() for name, value in pcpo_update.adapter_weights(policy.model).items()}
        torch.save(mine, out.parent / f"adapter-{policy.accelerator.process_index}.pt")
        return plain(policy, best)

    pcpo_update.export = export
    torch.set_num_threads(1)
    pcpo.optimise(toy(base, out, rounds=1), write_shelf(shelf), models())


@pytest.mark.slow
def test_two_processes(tmp_path: Path):
    from accelerate import debug_launcher

    base = write_prompt_model(tmp_path / "base")
    write_shelf(tmp_path / "shelf")
    debug_launcher(_train, (base, tmp_path / "run", tmp_path / "shelf"), num_processes=2)
    one, two = (torch.load(tmp_path / f"adapter-{k}.pt", weights_only=True) for k in (0, 1))
    assert one and all(torch.equal(one[name], two[name]) for name in one)
    parts = [json.loads((tmp_path / f"run/rounds/0/drafts-{k}-of-2.json").read_text()) for k in (1, 2)]
    assert [len(part) for part in parts] == [2, 2] and not parts[0].keys() & parts[1].keys()
    state = torch.load(tmp_path / "run/rounds/0/update.pt", weights_only=True)
    assert state["step"] == 2, "half the steps of one process"
    assert (tmp_path / "run/best/adapter_model.safetensors").is_file()
    assert (tmp_path / "run/index.html").is_file()
