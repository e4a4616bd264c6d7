"""How a campaign shares out its impressions among arms: the original photo (the control) and its generated ads.

    p = least + (1 - sum of least) q        q uniform, greedy, or Thompson's chance that an arm is the best

`least` is each arm's guaranteed share: `floor`, and `control` for the original. With K arms this is an epsilon of
(K - 1) floor + control. An arm is drawn from the very numbers p that are logged as propensities, so these are exact
whatever the error of the quadrature behind q; nothing is counted or simulated.

An allocation is frozen: it changes only when a new version is made from newer clicks. Impressions of one version share
one p, so that counts by version and arm are all that estimates need (`caig.online.decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caig.errors import InputError
from caig.evaluation.metrics import agreement
from caig.seeding import seed_for

Policy = Literal["uniform", "epsilon-greedy", "thompson"]
POLICIES: tuple[Policy, ...] = ("uniform", "epsilon-greedy", "thompson")
LEVELS = np.array([1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4])  # quantiles that bound the panels
NODES = 8  # of Gauss-Legendre in each panel
Z = 1.96

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A campaign's policy.

    Args:
        policy: uniform; epsilon-greedy (all to the highest posterior mean); thompson (by the chance of being best)
        floor: least share of every generated arm, above 0
        control: least share of the original photo, above 0
        prior: impressions that the opinion of a reward model that is always right would be worth
    """

    policy: Policy = "thompson"
    floor: float = 0.01
    control: float = 0.1
    prior: float = 1000.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            hint = "Choose one of them."
            raise InputError("policy", expected=", ".join(POLICIES), got=f"'{self.policy}'", next_step=hint)
        for name in ("floor", "control"):
            share = getattr(self, name)
            if not 0 < share < 1:
                raise InputError(name, expected="a share above 0, below 1", got=f"{share:g}", next_step="Correct it.")
        if not 0 <= self.prior < float("inf"):
            hint = "0 ignores the reward model."
            raise InputError("prior", expected="impressions from 0", got=f"{self.prior:g}", next_step=hint)

    @property
    def most(self) -> int:
        """Arms, the control among them, that the guaranteed shares leave room for."""
        return int((1 - self.control) / self.floor + 1e-9) + 1  # (1 - 0.4) / 0.2 falls short of 3 by rounding

    def least(self, arms: int) -> Floats:
        """f64[K]: guaranteed shares, the control's first. InputError when K arms would need more than there is."""
        if arms > self.most:
            hint = "Retire an arm, or start a campaign with a lower floor."
            raise InputError("arms", expected=f"at most {self.most} with these floors", got=str(arms), next_step=hint)
        return np.array([self.control] + [self.floor] * (arms - 1))


def probabilities(rules: Rules, a: ArrayLike, b: ArrayLike) -> Floats:
    """f64[K], summing to 1: the share of each arm whose CTR has the posterior Beta(a, b); the control is arm 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    least = rules.least(len(a))
    shares = least + max(0.0, 1 - least.sum()) * _wanted(rules.policy, a, b)
    return np.asarray(shares / shares.sum())


def _wanted(policy: Policy, a: Floats, b: Floats) -> Floats:
    if policy == "thompson":
        return best_chances(a, b)
    mean = a / (a + b)
    wanted = np.ones(len(a)) if policy == "uniform" else (mean == mean.max()).astype(np.float64)
    return np.asarray(wanted / wanted.sum())


def best_chances(a: ArrayLike, b: ArrayLike) -> Floats:
    """f64[K]: P(arm k has the highest CTR), CTRs independent Beta(a, b), arrays [K]; what Thompson sampling draws with.

    P(k best) = integral of f_k(x) prod_{j != k} F_j(x) dx, by Gauss-Legendre on panels between the quantiles of all
    arms, so that posteriors of any widths are resolved. Error below 1e-6, see the tests.
    """
    from scipy.special import betainc, betaincinv, betaln

    a, b = np.asarray(a, np.float64).reshape(-1, 1), np.asarray(b, np.float64).reshape(-1, 1)
    edges = np.unique(np.clip(betaincinv(a, b, np.concatenate([LEVELS, [0.5], 1 - LEVELS])), 0, 1))
    node, weight = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half * (1 + node)).reshape(-1)
    width = (half * weight).reshape(-1)
    density = np.exp((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - betaln(a, b))
    below = betainc(a, b, x)  # [K, X]
    others = np.array([np.delete(below, k, axis=0).prod(axis=0) for k in range(len(a))])
    chances = (density * others * width).sum(axis=1)
    return np.asarray(chances / chances.sum())


def posterior(
    clicks: ArrayLike, impressions: ArrayLike, predicted: ArrayLike | None = None, strength: float = 0.0
) -> tuple[Floats, Floats]:
    """(a, b) of each arm's Beta posterior, f64[K]: 1 + clicks and 1 + misses, and `strength` impressions of belief in
    `predicted` CTRs f64[K], of which only the ratios count: their mean is put at the campaign's own CTR."""
    clicks, impressions = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
    a, b = 1 + clicks, 1 + impressions - clicks
    if predicted is None or strength == 0 or not clicks.sum():
        return a, b
    predicted = np.asarray(predicted, np.float64)
    level = clicks.sum() / impressions.sum()
    believed = np.clip(level * predicted / predicted.mean(), 0, 1)
    return a + strength * believed, b + strength * (1 - believed)


def skill(margin: ArrayLike, label: ArrayLike, products: Sequence[str]) -> float:
    """How far the reward model can be trusted, 0 to 1: 2 low - 1, never below 0. Times `Rules.prior` it is the strength
    of `posterior`.

    `low` is the lower end of Wilson's 95 % interval of the model's pair accuracy on clicks that it was not trained on.
    Products are the sample, since pairs of one product are alike; without any, nothing is believed.

    Args:
        margin: f64[P], first predicted CTR minus second
        label: f64[P], chance that the first is truly better, from its clicks
        products: the product of each pair
    """
    names, index = np.unique(np.asarray(products, dtype=str), return_inverse=True)
    if not len(names):
        return 0.0
    label = np.asarray(label, np.float64)
    right = 0.5 + (agreement(margin, np.ones(len(label))) - 0.5) * (2 * label - 1)
    by_product = np.bincount(index, right) / np.bincount(index)
    return max(0.0, 2 * wilson_low(float(by_product.mean()), len(names)) - 1)


def wilson_low(share: float, n: int) -> float:
    """Lower end of Wilson's 95 % interval of a mean of n values in 0..1 (Wilson 1927); 0 for n = 0."""
    if not n:
        return 0.0
    middle, spread = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float(max(0.0, (middle - spread) / (1 + Z**2 / n)))


def draw(shares: Floats, *names: str) -> int:
    """Index of the arm that the impression called `names` gets: the same names, the same arm, so anyone can check."""
    level = seed_for(*names) / 2**63
    return min(int(np.searchsorted(np.cumsum(shares), level, side="right")), len(shares) - 1)
