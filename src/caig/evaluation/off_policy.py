"""What would another policy have earned? Estimated from a log of one whose propensities are known.

N rows: `action` i64[N] the arm shown, `reward` f64[N], `propensity` f64[N] in (0, 1] its chance when logged, `target`
f64[N, K] the chances under the policy in question (rows sum to 1), `predicted` f64[N, K] a model's rewards of all arms.
With w = target[action] / propensity:

    ips            mean of w r                                       Horvitz and Thompson 1952; unbiased
    snips          sum of w r / sum of w                             Swaminathan and Joachims 2015; steadier
    direct         mean of sum_a target_a predicted_a                as good as the model
    doubly_robust  mean of [direct + w (r - predicted[action])]      Dudik et al. 2011; unbiased, whatever the model

Intervals are normal, 95 %, from the rows' influence; rows count as independent. That of `direct` knows nothing of the
model's own error. All need target > 0 only where the log had a chance: arms never shown there are not estimated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caig.errors import InputError
from caig.types import Estimate

Z = 1.959964
SMOOTHING = 20.0  # rows at the overall mean that a context's arm starts with in `cross_fitted`

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Logged:
    """A log and the policy to judge on it; InputError where they cannot be."""

    action: Ints
    reward: Floats
    propensity: Floats
    target: Floats

    def __post_init__(self) -> None:
        rows, arms = self.target.shape
        lengths = {len(column) for column in (self.action, self.reward, self.propensity)}
        if not rows or lengths != {rows}:
            _refuse("log", "columns of one length, at least one row", f"lengths {sorted(lengths | {rows})}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            _refuse("propensity", "chances above 0, up to 1", f"{self.propensity.min():g} to {self.propensity.max():g}")
        if not (np.allclose(self.target.sum(axis=1), 1) and (self.target >= 0).all()):
            _refuse("target", "chances that sum to 1 in every row", "others")
        if not ((self.action >= 0) & (self.action < arms)).all():
            _refuse("action", f"arms from 0 to {arms - 1}", f"{self.action.min()} to {self.action.max()}")

    @property
    def weight(self) -> Floats:
        """f64[N]: how much oftener the target would have done what was done."""
        return self.of_action(self.target) / self.propensity

    def of_action(self, values: Floats) -> Floats:
        """f64[N]: the column of `values` f64[N, K] that belongs to the arm shown."""
        return values[np.arange(len(self.action)), self.action]


def ips(log: Logged) -> Estimate:
    """Inverse propensity score."""
    return _mean("ips", log.weight * log.reward)


def snips(log: Logged) -> Estimate:
    """Self-normalised inverse propensity score; InputError where the target never does what was done."""
    weight = log.weight
    if not weight.sum():
        _refuse("target", "a policy that does some of what was logged", "one that does none of it")
    value = float((weight * log.reward).sum() / weight.sum())
    influence = _mean("snips", value + weight * (log.reward - value) / weight.mean())
    return Estimate(name="snips", value=value, low=influence.low, high=influence.high, n=influence.n)


def direct(log: Logged, predicted: Floats) -> Estimate:
    """The model's word for it."""
    return _mean("direct", (log.target * predicted).sum(axis=1))


def doubly_robust(log: Logged, predicted: Floats) -> Estimate:
    """The model's word, corrected by what it got wrong on the rows shown."""
    errors = log.weight * (log.reward - log.of_action(predicted))
    return _mean("doubly robust", (log.target * predicted).sum(axis=1) + errors)


def cross_fitted(log: Logged, context: Ints, *, seed: int = 0) -> Floats:
    """f64[N, K]: mean reward of each arm in each row's `context` i64[N] (e.g. its product), from the other half of the
    rows, drawn towards the other half's mean: no row helps to predict itself."""
    arms = log.target.shape[1]
    half = np.random.default_rng(seed).permutation(len(context)) % 2
    predicted = np.empty((len(context), arms))
    cell = context * arms + log.action
    cells = (int(context.max()) + 1) * arms
    for fold in (0, 1):
        other = half != fold
        mean = log.reward[other].mean() if other.any() else 0.0
        sums = np.bincount(cell[other], log.reward[other], cells) + SMOOTHING * mean
        table = (sums / (np.bincount(cell[other], minlength=cells) + SMOOTHING)).reshape(-1, arms)
        predicted[~other] = table[context[~other]]
    return predicted


def _mean(name: str, terms: Floats) -> Estimate:
    value, n = float(terms.mean()), len(terms)
    half = Z * float(terms.std(ddof=1)) / np.sqrt(n) if n > 1 else float("inf")
    return Estimate(name=name, value=value, low=value - half, high=value + half, n=n)


def _refuse(name: str, expected: str, got: str) -> None:
    raise InputError(name, expected=expected, got=got, next_step="Correct the log or the policy.")
