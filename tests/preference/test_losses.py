import math

import pytest
import torch

from caig.preference.losses import centred_log_ctr_error, click_share_error, pairwise_cross_entropy


def test_equal_utilities_cost_log_two():
    loss = pairwise_cross_entropy(torch.zeros(3), torch.zeros(3), torch.tensor([0.0, 0.3, 1.0]))
    assert loss.item() == pytest.approx(math.log(2))


def test_cross_entropy_by_hand():
    # d = log 3 -> s(d) = 3/4; with y = 0.2: -(0.2 log 0.75 + 0.8 log 0.25)
    loss = pairwise_cross_entropy(torch.tensor([math.log(3)]), torch.tensor([0.0]), torch.tensor([0.2]))
    assert loss.item() == pytest.approx(-(0.2 * math.log(0.75) + 0.8 * math.log(0.25)), rel=1e-5)


def test_swapping_the_pictures_changes_nothing():
    first, second, label = torch.tensor([0.4, -1.0]), torch.tensor([0.1, 2.0]), torch.tensor([0.9, 0.3])
    swapped = pairwise_cross_entropy(second, first, 1 - label)
    assert swapped.item() == pytest.approx(pairwise_cross_entropy(first, second, label).item())


def test_weights_are_shares():
    first, label = torch.tensor([math.log(3), 0.0]), torch.tensor([1.0, 1.0])
    loss = pairwise_cross_entropy(first, torch.zeros(2), label, weight=torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((3 * -math.log(0.75) + math.log(2)) / 4, rel=1e-5)


def test_soft_label_is_the_optimum():
    gap = torch.tensor([math.log(0.7 / 0.3)], requires_grad=True)
    pairwise_cross_entropy(gap, torch.zeros(1), torch.tensor([0.7])).backward()
    assert gap.grad is not None and gap.grad.item() == pytest.approx(0, abs=1e-6)


def test_a_constant_per_product_costs_nothing():
    log_ctr, product = torch.tensor([-3.0, -3.5, -5.0, -4.0]), torch.tensor([0, 0, 1, 1])
    relative = log_ctr + torch.tensor([1.0, 1.0, -7.0, -7.0])
    assert centred_log_ctr_error(relative, log_ctr, product).item() == pytest.approx(0, abs=1e-10)


def test_centred_error_by_hand():
    # Product 0: gaps 0 and 2, centred -1 and 1 -> 1 + 1. Product 1: one picture -> 0. Mean over 3.
    loss = centred_log_ctr_error(torch.tensor([0.0, 2.0, 9.0]), torch.zeros(3), torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(2 / 3)


def test_centred_error_with_weights_by_hand():
    # Gaps 0 and 4 with weights 3 and 1: centre 1, centred -1 and 3: (3*1 + 1*9) / 4
    weight = torch.tensor([3.0, 1.0])
    loss = centred_log_ctr_error(torch.tensor([0.0, 4.0]), torch.zeros(2), torch.tensor([0, 0]), weight=weight)
    assert loss.item() == pytest.approx(3)


CLICKS, SHOWN, OWNER = torch.tensor([30.0, 20.0, 5.0]), torch.tensor([1000.0, 2000.0, 70.0]), torch.tensor([0, 0, 1])


def test_click_shares_by_hand():
    # r = 0: p = 1/3, 2/3 against q = 0.6, 0.4; the second product's only picture gets all of its 5 clicks
    loss = click_share_error(torch.zeros(3), CLICKS, SHOWN, OWNER)
    assert loss.item() == pytest.approx((30 * math.log(0.6 * 3) + 20 * math.log(0.4 * 1.5)) / 55, rel=1e-5)


def test_click_shares_are_fitted_by_the_ratio_of_rates():
    # 3 % against 1 %: a gap of log 3, whatever the level
    relative = torch.tensor([math.log(3) - 7, -7.0, 2.0], requires_grad=True)
    loss = click_share_error(relative, CLICKS, SHOWN, OWNER)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and relative.grad.abs().max() < 1e-6


def test_click_shares_weigh_products():
    halves = torch.tensor([0, 0, 1, 1])
    clicks, shown = torch.tensor([30.0, 20.0, 10.0, 10.0]), torch.tensor([1000.0, 2000.0, 500.0, 500.0])
    loss = click_share_error(torch.zeros(4), clicks, shown, halves, weight=torch.tensor([2.0, 5.0]))
    assert loss.item() == pytest.approx(2 * (30 * math.log(1.8) + 20 * math.log(0.6)) / (2 * 50 + 5 * 20), rel=1e-5)


def test_no_clicks_and_no_impressions_cost_nothing():
    loss = click_share_error(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([5.0, 0.0]), torch.tensor([0, 0]))
    assert loss.item() == 0
