"""Preference losses against numbers derived by hand: s(z) = 1 / (1 + exp(-z))."""

import math
from dataclasses import replace

import pytest
import torch

from caig.preference.policy import LOSSES, Pairs, anchored, dpo, ipo, kto, objective, product_centric, simpo


def pairs(**changes: float) -> Pairs:
    """One pair: r(chosen) = -10 + 12 = 2, r(rejected) = -9 + 8 = -1, r(corrupted) = -11 + 12 = 1."""
    values = {
        "chosen": -10.0, "rejected": -9.0, "corrupted": -11.0,
        "ref_chosen": -12.0, "ref_rejected": -8.0, "ref_corrupted": -12.0,
        "chosen_length": 4.0, "rejected_length": 2.0,
    }  # fmt: skip
    return Pairs(**{name: torch.tensor([value]) for name, value in (values | changes).items()})


def s(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_margins():
    assert pairs().margin.item() == 3
    assert pairs().product_margin.item() == 1


def test_dpo():
    # margin 3, beta 0.5: -log s(1.5) = log(1 + exp(-1.5)) = 0.2014133
    assert dpo(pairs(), 0.5).item() == pytest.approx(0.2014133, rel=1e-6)


def test_dpo_is_log_2_at_the_reference():
    same = pairs(chosen=-12.0, rejected=-8.0)
    assert dpo(same, 0.5).item() == pytest.approx(math.log(2))


def test_product_centric():
    # 2 - 1 = 1, beta 0.5: log(1 + exp(-0.5)) = 0.4740770
    assert product_centric(pairs(), 0.5).item() == pytest.approx(0.4740770, rel=1e-6)


def test_product_centric_needs_no_rejected_answer():
    assert torch.equal(product_centric(pairs(), 0.5), product_centric(pairs(rejected=-100.0), 0.5))


def test_ipo():
    assert ipo(pairs(), 0.5).item() == pytest.approx(0.5**2 * (3 - 1) ** 2)
    assert ipo(pairs(), 1 / 6).item() == pytest.approx(0)


def test_kto():
    # z = max(0, (2 - 1) / 2) = 0.5: [1 - s(0.75)] + [1 - s(0.75)], since 2 - 0.5 = 0.5 + 1 = 1.5, times 0.5
    assert kto(pairs(), 0.5).item() == pytest.approx(2 * (1 - s(0.75)))


def test_ktos_reference_point_is_never_below_0_and_carries_no_gradient():
    # r = -4 and -1: z = 0, not -2.5
    low = pairs(chosen=-16.0)
    assert kto(low, 0.5).item() == pytest.approx((1 - s(-2)) + (1 - s(0.5)))
    chosen = torch.tensor([-10.0], requires_grad=True)
    given = pairs()
    kto(Pairs(**{**vars(given), "chosen": chosen}), 0.5).sum().backward()
    # d/dchosen of 1 - s(0.5 (chosen + 12 - 0.5)) alone
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.5 * s(0.75) * (1 - s(0.75)))


def test_simpo():
    # -10 / 4 + 9 / 2 - 0.5 = 1.5, beta 2: log(1 + exp(-3)); the reference plays no part
    assert simpo(pairs(), 2.0).item() == pytest.approx(math.log1p(math.exp(-3)), rel=1e-6)
    assert torch.equal(simpo(pairs(ref_chosen=5.0), 2.0), simpo(pairs(), 2.0))


def test_per_token_divides_each_by_its_answers_length_once():
    means = pairs().per_token()
    # r(chosen) = 2 / 4, r(rejected) = -1 / 2, r(corrupted) = 1 / 4: it is the chosen answer, of length 4
    assert means.margin.item() == pytest.approx(1.0)
    assert means.product_margin.item() == pytest.approx(0.25)
    assert means.per_token() == means or torch.equal(means.per_token().chosen, means.chosen)


def test_anchored():
    # r(chosen) = 2, beta 0.5: log(1 + e^-1); neither the rejected answer nor other information plays a part
    assert anchored(pairs(), 0.5).item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)
    assert anchored(pairs(rejected=0.0, corrupted=0.0), 0.5).item() == anchored(pairs(), 0.5).item()


def test_the_objective_adds_up():
    # 0.9 log(1 + e^-1.5) + 0.1 log(1 + e^1.5) + 2 log(1 + e^-0.5) + 3 log(1 + e^-1)
    expected = 0.9 * 0.2014133 + 0.1 * 1.7014133 + 2 * 0.4740770 + 3 * 0.3132617
    got = objective(pairs(), beta=0.5, product_weight=2.0, anchor=3.0, smoothing=0.1).item()
    assert got == pytest.approx(expected, rel=1e-6)


def test_the_product_centric_term_may_have_a_beta_of_its_own():
    # product margin 1: weight 2, 0.1 / 0.5 log(1 + e^-0.5), beside log(1 + e^-0.3) of DPO
    got = objective(pairs(), beta=0.1, product_weight=2.0, product_beta=0.5).item()
    assert got == pytest.approx(math.log1p(math.exp(-0.3)) + 2 * 0.2 * 0.4740770, rel=1e-6)
    # At margin 0 it pulls as at `beta`: with beta / 2.
    pulls = []
    for own in (None, 0.5):
        corrupted = torch.tensor([-10.0], requires_grad=True)
        given = replace(pairs(ref_corrupted=-12.0), corrupted=corrupted)
        objective(given, beta=0.1, product_weight=1.0, product_beta=own).backward()
        assert corrupted.grad is not None
        pulls.append(corrupted.grad.item())
    assert pulls == pytest.approx([0.05, 0.05])


BASE = {"beta": 0.5, "product_weight": 1.0, "anchor": 0.0, "smoothing": 0.0, "per_token": False}


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.3},
        {"product_weight": 0.5},
        {"product_beta": 2.0},
        {"anchor": 1.0},
        {"smoothing": 0.1},
        {"per_token": True},
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_every_setting_reaches_every_loss(name: str, change: dict):
    usual = objective(pairs(), loss=LOSSES[name], **BASE)
    assert objective(pairs(), loss=LOSSES[name], **{**BASE, **change}).item() != pytest.approx(usual.item(), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_prefers_the_chosen_answer(name: str):
    given = pairs()
    chosen, rejected = (getattr(given, side).clone().requires_grad_() for side in ("chosen", "rejected"))
    LOSSES[name](Pairs(**{**vars(given), "chosen": chosen, "rejected": rejected}), 0.1).sum().backward()
    assert chosen.grad is not None and rejected.grad is not None
    assert chosen.grad.item() < 0 < rejected.grad.item()


def test_smoothing_may_differ_by_pair():
    two = Pairs(**{name: torch.cat([value, value + i]) for i, (name, value) in enumerate(vars(pairs()).items())})
    each = [objective(two, **{**BASE, "smoothing": share}).item() for share in (0.0, 0.2)]
    mixed = objective(two, **{**BASE, "smoothing": torch.tensor([0.0, 0.2])}).item()
    assert min(each) < mixed < max(each)
    none = Pairs(**{name: value[:0] for name, value in vars(pairs()).items()})
    assert objective(none, **BASE).item() == 0


@pytest.mark.parametrize(("margin", "pull"), [(1.0, -1), (2.0, 0), (3.0, 1)])
def test_a_soft_label_asks_for_a_margin_of_gap_over_beta(margin: float, pull: int):
    # Utilities 0.6 apart and beta 0.3: the chosen one's ratio is to be 2 nats above, neither more nor less.
    chosen = torch.tensor([-12.0], requires_grad=True)
    given = replace(pairs(ref_chosen=-12.0, ref_rejected=-9.0, rejected=-9.0 - margin), chosen=chosen)
    objective(given, beta=0.3, product_weight=0.0, smoothing=torch.tensor([s(-0.6)])).backward()
    # d/dchosen = beta [s(beta margin) - s(gap)]
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(0.3 * (s(0.3 * margin) - s(0.6)), abs=1e-6)
    assert round(math.copysign(1, chosen.grad.item()) * (abs(chosen.grad.item()) > 1e-6)) == pull
