"""The first leg: what image tokens learn to say, by hand, and that a cut leg equals an uncut one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from caig.models.mllm import BackboneSize
from caig.recipes import reward
from caig.recipes.reward import Config, samples, shops, tower
from caig.recipes.reward.tower import CELLS, CHANNELS, MASK_CELLS, MEASURES, regions_of, targets

DATA = Path(__file__).parents[1] / "data"
TINY = BackboneSize(image=64, patch=32, vision_width=32, vision_layers=1, width=32, layers=1, vocabulary=300)


def test_a_flat_picture_has_its_colour_and_no_detail():
    picture = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    share, told, whole = targets(picture, torch.ones(1, 1, 64, 64), grid=2)
    assert share.shape == (1, 4, MASK_CELLS**2) and (share == 1).all()
    light = (0.299 + 0.5 * 0.587 - 0.5) / 0.25
    expected = [light, 0.5 / 0.15, 0.75 / 0.15, (np.log(1e-5) + 8) / 2, (np.log(1e-5) + 6) / 2]
    assert told.shape == (1, 4, CHANNELS * CELLS**2)
    for channel, value in enumerate(expected):  # each channel's cells lie side by side
        found = told[0, :, channel * CELLS**2 : (channel + 1) * CELLS**2]
        assert torch.allclose(found, torch.full_like(found, value), atol=1e-4)


def test_product_and_background_are_summed_up_apart():
    """White on the left half, where the product is, black elsewhere."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    *_, whole = targets(mask.expand(1, 3, 64, 64), mask, grid=2)
    assert whole[0, 0].item() == pytest.approx((1 - 0.5) / 0.25, abs=0.01)
    near, rest, rim = (whole[0, k * MEASURES].item() for k in (1, 2, 3))
    assert [near, rest, rim] == pytest.approx([(0 - 0.5) / 0.25] * 3, abs=0.01)
    assert whole[0, -1].item() == pytest.approx(np.log(0.5) + 2.3, abs=0.01)


def test_a_region_half_black_half_white_deviates_by_half():
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., :32] = 1
    *_, whole = targets(picture, torch.ones(1, 1, 64, 64), grid=2)
    spread = whole[0, CHANNELS:MEASURES].tolist()  # of the product: light, then two colours, which black and white lack
    assert spread == pytest.approx([(0.5 - 0.14) / 0.08, (0.001 - 0.05) / 0.05, (0.001 - 0.05) / 0.05], abs=0.01)


def test_regions_by_hand():
    """A product of one pixel amid 25: a twelfth of 25 is 2, so 24 pixels are near and the rim is 2 wide."""
    mask = torch.zeros(1, 1, 25, 25)
    mask[..., 12, 12] = 1
    areas = regions_of(mask)[0].sum((1, 2)).tolist()
    assert areas == [1, 24, 600, 625 - 21**2]


def test_tokens_are_told_of_their_own_cell():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32, 32:48] = 1  # the left half of the upper right token's cell
    share, *_ = targets(torch.zeros(1, 3, 64, 64), mask, grid=2)
    assert share[0].sum(1).tolist() == [0, MASK_CELLS**2 / 2, 0, 0]
    assert share[0, 1].view(MASK_CELLS, MASK_CELLS)[:, : MASK_CELLS // 2].min() == 1


def test_sharp_and_blurred_stripes_differ_in_fine_detail():
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    _, sharp, _ = targets(stripes, torch.zeros(1, 1, 64, 64), grid=2)
    _, soft, _ = targets(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64), grid=2)
    fine = slice(3 * CELLS**2, 4 * CELLS**2)
    assert (sharp[..., fine] - soft[..., fine]).min() > 2


def config(out: Path, **fields) -> Config:
    usual = {"tower_steps": 3, "tower_batch": 4, "checkpoint_every": 1, "warmup": 1}
    return Config(data=DATA, clicks=DATA, out=out, **usual | fields)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "SIZE", TINY)


def test_a_resumed_leg_equals_an_uncut_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uncut, *_ = reward.build(config(tmp_path / "uncut"))
    drawn, seen = tower.draw_views, []

    def cut_at_the_third(views, count, rng):
        seen.append(rng)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return drawn(views, count, rng)

    monkeypatch.setattr(tower, "draw_views", cut_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        reward.build(config(tmp_path / "cut"))
    monkeypatch.setattr(tower, "draw_views", drawn)
    resumed, *_ = reward.build(config(tmp_path / "cut"))
    one, other = uncut.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    untrained = reward.build(config(tmp_path / "none", tower_steps=0))[0].state_dict()
    changed = {name.split(".")[2] for name in one if not torch.equal(one[name], untrained[name])}
    changed.discard("weight")  # of the language model head, which is tied to the embedding
    assert changed == {"vision_tower", "multi_modal_projector", "language_model"}


def test_processes_that_draw_ahead_change_no_weight(tmp_path: Path):
    alone, *_ = reward.build(config(tmp_path / "alone"))
    ahead, *_ = reward.build(config(tmp_path / "ahead", workers=2))
    one, other = alone.state_dict(), ahead.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_sees_as_many_pictures_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen, losses = [], tower.description_losses
    monkeypatch.setattr(tower, "description_losses", lambda *about: seen.append(len(about[-1].masks)) or losses(*about))
    reward.build(config(tmp_path, tower_steps=2, tower_batch=3))
    assert seen == [3, 3]


def with_shops(folder: Path) -> dict[str, object]:
    """Settings of a second leg, on two shops' logs of the test scenes that are written below `folder`."""
    scenes = sorted(tower.read_scenes(DATA), key=lambda scene: scene.product["id"])
    (folder / "shops").mkdir()
    for name, odd in (("one", 1), ("two", 0)):
        rows = [
            f"{s.product['id']},{s.id},{s.archive}#{s.id}.image.webp,900,{9 + 9 * (k % 2 == odd)}"
            for k, s in enumerate(scenes)
        ]
        header = "product_id,creative_id,image,impressions,clicks"
        (folder / "shops" / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    return {"shops": folder / "shops", "shop_steps": 3, "shop_products": 2}


def test_a_resumed_second_leg_that_describes_equals_an_uncut_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    about = with_shops(tmp_path)
    uncut, *_ = reward.build(config(tmp_path / "uncut", **about))
    see, drawn = shops.see_views, []

    def cut_at_the_third(*of):
        drawn.append(of)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return see(*of)

    monkeypatch.setattr(shops, "see_views", cut_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        reward.build(config(tmp_path / "cut", **about))
    monkeypatch.setattr(shops, "see_views", see)
    resumed, *_ = reward.build(config(tmp_path / "cut", **about))
    one, other = uncut.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_second_leg_goes_on_describing(tmp_path: Path):
    about = with_shops(tmp_path) | {"tower_steps": 12}
    found = {}
    for weight in (0.0, 5.0):
        settings = config(tmp_path / f"{weight}", describing_weight=weight, **about)
        network, processor, side = reward.build(settings)
        learning = tower.describing(settings, network)
        views = tower.read_views(settings, side)
        state = torch.load(settings.out / "shops.pt", weights_only=True)["weights"]
        kept = {name.removeprefix("describer."): w for name, w in state.items() if name.startswith("describer.")}
        assert bool(kept) == bool(weight)
        learning.load_state_dict(kept or learning.state_dict())
        with torch.no_grad():
            losses = tower.description_losses(learning.eval(), network, tower.see_views(processor, views, 16, seed=9))
        found[weight] = sum(loss.item() for loss in losses)
    print(f"required: the better described with the weight; measured: {found}")
    assert found[5.0] < found[0.0]
    once = torch.load(tmp_path / "5.0" / "tower.pt", weights_only=True)["weights"]
    assert not torch.equal(once["cells.weight"], learning["cells"].weight), "it learned on"


def test_only_training_products_are_seen():
    views = tower.read_views(config(Path("unused")), 64)
    scenes = tower.read_scenes(DATA)
    assert 0 < len(views.pictures) == sum(samples.split(s.product["id"]) == "train" for s in scenes) < len(scenes)
    assert views.masks.max() > 250 and 0 < views.masks.mean() < 128
