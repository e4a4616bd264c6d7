"""Off-policy estimates: by hand, against obp's on one log, and against the shop's truth."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from caig.errors import InputError
from caig.evaluation.off_policy import Logged, cross_fitted, direct, doubly_robust, ips, snips
from caig.shop.shoppers import World
from caig.shop.simulate import Adaptive, simulate
from caig.studies.confounding import draw_ads

# Four rows of a policy that shows arm 0 three times in four; the target always shows arm 1.
ROWS = Logged(
    action=np.array([0, 1, 0, 1]),
    reward=np.array([1.0, 1, 0, 0]),
    propensity=np.array([0.75, 0.25, 0.75, 0.25]),
    target=np.tile([0.0, 1.0], (4, 1)),
)
PREDICTED = np.tile([0.5, 0.25], (4, 1))


def test_by_hand() -> None:
    """w = 0, 4, 0, 4. IPS 4 / 4; SNIPS 4 / 8; DM 0.25; DR 0.25 + (4 * 0.75 - 4 * 0.25) / 4."""
    assert ips(ROWS).value == 1.0
    assert snips(ROWS).value == 0.5
    assert direct(ROWS, PREDICTED).value == 0.25
    assert doubly_robust(ROWS, PREDICTED).value == 0.75


def test_intervals_by_hand() -> None:
    """IPS terms 0, 4, 0, 0: deviation 2, half-width 1.96 * 2 / 2. SNIPS terms around 0.5: 0.5, 1.5, 0.5, -0.5."""
    assert (ips(ROWS).low, ips(ROWS).high) == (pytest.approx(1 - 1.959964), pytest.approx(1 + 1.959964))
    half = 1.959964 * np.sqrt(2 / 3) / 2
    assert (snips(ROWS).low, snips(ROWS).high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    assert direct(ROWS, PREDICTED).low == 0.25
    assert ips(ROWS).n == 4


def test_cross_fitted_by_hand() -> None:
    """Two rows, one in each half: each is predicted from the other alone, (r + 20 r) / 21 and, unseen, 20 r / 20."""
    log = Logged(
        action=np.array([0, 1]),
        reward=np.array([1.0, 0.0]),
        propensity=np.array([0.5, 0.5]),
        target=np.full((2, 2), 0.5),
    )
    assert cross_fitted(log, np.array([0, 0])) == pytest.approx(np.array([[0, 0], [1, 1]]))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("propensity", np.array([0.5, 0, 0.5, 0.5]), "propensity: expected chances above 0, up to 1, got 0 to 0.5"),
        ("target", np.ones((4, 2)), "target: expected chances that sum to 1"),
        ("action", np.array([0, 1, 2, 0]), "action: expected arms from 0 to 1, got 0 to 2"),
        ("reward", np.ones(3), "log: expected columns of one length"),
    ],
)
def test_bad_logs(field: str, value: np.ndarray, message: str) -> None:
    columns = {name: getattr(ROWS, name) for name in ("action", "reward", "propensity", "target")}
    with pytest.raises(InputError, match=message):
        Logged(**{**columns, field: value})


def shop_log(seed: int, rows: int = 6000) -> tuple[Logged, np.ndarray, np.ndarray, float]:
    """A log of the adaptive shop, each row's product, the greedy target and its true CTR.

    The target puts 0.7 on each product's truly best of 3 ads.
    """
    world, ads = World(seed), draw_ads(4, 3, seed)
    log = simulate(world, ads, Adaptive(), rows, seed=seed)
    ctr = world.ctr(ads).reshape(4, 3)
    target = np.full((4, 3), 0.15)
    target[np.arange(4), ctr.argmax(axis=1)] = 0.7
    number = log["creative_id"].str.split("-")
    product = number.list.get(0).str.slice(1).cast(pl.Int64).to_numpy()
    logged = Logged(
        action=number.list.get(1).cast(pl.Int64).to_numpy(),
        reward=log["clicked"].to_numpy().astype(np.float64),
        propensity=log["propensity"].to_numpy(),
        target=target[product],
    )
    truth = float((target * ctr).sum(axis=1)[product].mean())
    return logged, product, ctr, truth


def test_the_shops_truth_is_covered() -> None:
    """40 worlds: 95 % intervals hold the truth in 38; fewer than 34 has chance 1e-2. Clicks alone do not."""
    held = {"ips": 0, "snips": 0, "doubly robust": 0}
    naive = []
    for seed in range(40):
        log, product, _, truth = shop_log(seed)
        for estimate in (ips(log), snips(log), doubly_robust(log, cross_fitted(log, product, seed=seed))):
            held[estimate.name] += estimate.low <= truth <= estimate.high
        naive.append(log.reward.mean() - truth)
    print(held, f"plain CTR of the log off by {np.mean(naive):.4f}")
    assert min(held.values()) >= 34
    assert np.mean(naive) < -0.001


def test_a_model_makes_doubly_robust_sharper_and_cannot_mislead_it() -> None:
    """With true CTRs as the model its interval is no wider than IPS's; with nonsense it still holds the truth."""
    log, product, ctr, truth = shop_log(3, rows=40_000)
    good, bad = doubly_robust(log, ctr[product]), doubly_robust(log, 1 - ctr[product])
    assert good.high - good.low < ips(log).high - ips(log).low < bad.high - bad.low
    assert bad.low <= truth <= bad.high
    assert direct(log, ctr[product]).value == pytest.approx(truth)
    assert abs(direct(log, 1 - ctr[product]).value - truth) > 0.5


@pytest.mark.slow  # importing obp alone takes tens of seconds
def test_agrees_with_obp() -> None:
    """The Open Bandit Pipeline (Saito et al. 2021) on one log of the shop, to rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ope = pytest.importorskip("obp.ope")
    log, product, _, _ = shop_log(1)
    predicted = cross_fitted(log, product)
    shared = {"action_dist": log.target[:, :, None], "position": np.zeros(len(log.action), int)}
    rows = {"reward": log.reward, "action": log.action, "pscore": log.propensity, **shared}
    model = {"estimated_rewards_by_reg_model": predicted[:, :, None]}
    theirs = (
        ope.InverseProbabilityWeighting().estimate_policy_value(**rows),
        ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**rows),
        ope.DirectMethod().estimate_policy_value(**shared, **model),
        ope.DoublyRobust().estimate_policy_value(**rows, **model),
    )
    ours = (ips(log), snips(log), direct(log, predicted), doubly_robust(log, predicted))
    assert [estimate.value for estimate in ours] == pytest.approx(theirs, rel=1e-12)
