"""Calm space for copy: its weight by hand, and the clean latents that a changed output stands for."""

from types import SimpleNamespace

import pytest
import torch

from caig.models.calming import blurred, calm, calm_weight
from caig.types import Box


def test_the_weight_by_hand() -> None:
    """The left half of 4 cells: two inside, then half a cell outside counts 0.5, one and a half nothing."""
    weight = calm_weight(Box(x=0, y=0, w=0.5, h=1), (2, 4))
    assert weight.tolist() == [[[[1, 1, 0.5, 0]] * 2]]


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_the_expected_picture_is_smooth_inside_and_untouched_outside(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, output = torch.randn(2, 2, 4, 16, 16, generator=generator).unbind()
    scheduler = SimpleNamespace(alphas_cumprod=torch.tensor([0.9, 0.36]), config=SimpleNamespace(prediction_type=kind))
    weight = calm_weight(Box(x=0, y=0, w=0.5, h=1), (16, 16))

    def expected(out: torch.Tensor) -> torch.Tensor:
        a, s = 0.6, 0.8
        return a * latents - s * out if kind == "v_prediction" else (latents - s * out) / a

    before, after = (expected(out) for out in (output, calm(output, latents, weight, scheduler, torch.tensor(1))))
    torch.testing.assert_close(after[..., 12:], before[..., 12:])  # 8 wide, so the calm fades over 3.2 cells
    torch.testing.assert_close(after[..., :8], blurred(before, weight)[..., :8])
    assert after[..., :8].std() < 0.3 * before[..., :8].std()


def test_nothing_leaks_into_the_calm_space() -> None:
    """Outside it the latents are 100; inside a constant stays that constant."""
    weight = (torch.arange(12) < 6).float().expand(1, 1, 12, 12)
    latents = torch.where(weight > 0, 3.0, 100.0)
    torch.testing.assert_close(blurred(latents, weight)[..., :6], torch.full((1, 1, 12, 6), 3.0))
