"""Losses of preference optimisation (CAIG, stage c), as pure functions of log-probabilities.

A loss is one function (pairs, beta) -> f[P], a value per pair. To add one, write it and name it in `LOSSES`: label
smoothing, length normalisation and the product-centric term come from `objective` and fit every loss.
In formulas, r(y) = log pi(y|x) - log ref(y|x), the log-probabilities summed over the tokens of y.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

SIMPO_MARGIN = 0.5  # gamma / beta of arXiv 2405.14734, section 4


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Log-probabilities of P chosen and rejected answers, f[P] each, and their lengths in tokens, f[P] or i64[P].

    `corrupted`: of the chosen answer after the product information was corrupted. `ref_*`: under the reference.
    """

    chosen: Tensor
    rejected: Tensor
    corrupted: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    ref_corrupted: Tensor
    chosen_length: Tensor
    rejected_length: Tensor

    @property
    def margin(self) -> Tensor:
        """r(chosen) - r(rejected)."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)

    @property
    def product_margin(self) -> Tensor:
        """r(chosen) with the right product information less r(chosen) with the corrupted one."""
        return (self.chosen - self.ref_chosen) - (self.corrupted - self.ref_corrupted)

    def per_token(self) -> Pairs:
        """Means over tokens in place of sums; the same again when they are means already."""
        chosen, rejected = self.chosen_length, self.rejected_length
        return Pairs(
            chosen=self.chosen / chosen,
            rejected=self.rejected / rejected,
            corrupted=self.corrupted / chosen,
            ref_chosen=self.ref_chosen / chosen,
            ref_rejected=self.ref_rejected / rejected,
            ref_corrupted=self.ref_corrupted / chosen,
            chosen_length=torch.ones_like(chosen),
            rejected_length=torch.ones_like(rejected),
        )

    def swapped(self) -> Pairs:
        """Chosen and rejected change places."""
        return replace(
            self,
            chosen=self.rejected,
            rejected=self.chosen,
            ref_chosen=self.ref_rejected,
            ref_rejected=self.ref_chosen,
            chosen_length=self.rejected_length,
            rejected_length=self.chosen_length,
        )


def dpo(pairs: Pairs, beta: float) -> Tensor:
    """-log s(beta [r(chosen) - r(rejected)]) (arXiv 2305.18290, eq. 7; CAIG's first term)."""
    return -F.logsigmoid(beta * pairs.margin)


def ipo(pairs: Pairs, beta: float) -> Tensor:
    """(beta [r(chosen) - r(rejected)] - 1 / 2)^2: beta^2 times arXiv 2310.12036, eq. 17. The same optimum, and a pull
    that the product-centric term can stand beside at any beta."""
    return (beta * pairs.margin - 0.5).square()


def kto(pairs: Pairs, beta: float) -> Tensor:
    """[1 - s(beta (r(chosen) - z))] + [1 - s(beta (z - r(rejected)))] (arXiv 2402.01306, eq. 8, both weights 1).

    z, the reference point, is the batch's mean of r over all answers, at least 0 and without gradient; the paper
    estimates it on mismatched answers.
    """
    chosen, rejected = pairs.chosen - pairs.ref_chosen, pairs.rejected - pairs.ref_rejected
    z = torch.cat([chosen, rejected]).mean().clamp(min=0).detach()
    return 2 - (beta * (chosen - z)).sigmoid() - (beta * (z - rejected)).sigmoid()


def simpo(pairs: Pairs, beta: float) -> Tensor:
    """-log s(beta [log pi(chosen) / |chosen| - log pi(rejected) / |rejected| - 1/2]), no reference (2405.14734)."""
    means = pairs.per_token()
    return -F.logsigmoid(beta * (means.chosen - means.rejected - SIMPO_MARGIN))


def product_centric(pairs: Pairs, beta: float) -> Tensor:
    """-log s(beta [r(chosen | I, C) - r(chosen | I^, C^)]), CAIG's second term: the same answer, other information."""
    return -F.logsigmoid(beta * pairs.product_margin)


def anchored(pairs: Pairs, beta: float) -> Tensor:
    """-log s(beta r(chosen)): the chosen answer may not become rarer than it was (anchor of mDPO, arXiv 2406.11839).

    Differences alone are also met where both answers lose probability, to texts that nobody judged.
    """
    return -F.logsigmoid(beta * (pairs.chosen - pairs.ref_chosen))


Loss = Callable[[Pairs, float], Tensor]
LOSSES: Mapping[str, Loss] = {"dpo": dpo, "ipo": ipo, "kto": kto, "simpo": simpo}


def objective(
    pairs: Pairs,
    *,
    loss: Loss = dpo,
    beta: float,
    product_weight: float,
    product_beta: float | None = None,
    anchor: float = 0.0,
    smoothing: float | Tensor = 0.0,
    per_token: bool = False,
) -> Tensor:
    """Mean over pairs of (1 - smoothing) loss + smoothing loss(swapped) + product_weight product_centric + anchor
    anchored; 0 of no pairs.

    Args:
        beta: how dear it is to leave the reference, above 0
        product_weight: lambda of the paper; 0 leaves the product-centric term out
        product_beta: the product-centric term is taken at this beta, scaled so that it begins to pull as it would at
            `beta`, and lets go at a margin of a few nats over it; None: `beta`
        anchor: weight of the anchored term; the paper has none
        smoothing: the chance, 0 to 0.5, that a label is wrong, of all pairs or f[P] (conservative DPO for `dpo`)
        per_token: whether log-probabilities are means over tokens; the paper sums

    With smoothing = 1 - P(chosen better) = s(-gap) of each pair, DPO is least at beta margin = gap: the policy that
    maximises utility - beta KL (arXiv 2305.18290, eq. 4), where a hard label asks for ever larger margins.
    """
    pairs = pairs.per_token() if per_token else pairs
    terms = (1 - smoothing) * loss(pairs, beta) + smoothing * loss(pairs.swapped(), beta)
    product = beta / (product_beta or beta) * product_centric(pairs, product_beta or beta)
    terms = terms + product_weight * product + anchor * anchored(pairs, beta)
    return terms.sum() / max(1, len(terms))
