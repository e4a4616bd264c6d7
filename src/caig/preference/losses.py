"""Losses of the reward model (CAIG, stage b), as pure functions of tensors.

The paper: L = lambda1 L_CE + lambda2 L_Point, where a pair of pictures in one sequence yields two class logits and two
CTRs. Here each picture yields one utility u and one relative log-CTR r by itself (siamese), which makes
p(A > B) + p(B > A) = 1 and N pictures cost N passes, not N^2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pairwise_cross_entropy(
    first: Tensor, second: Tensor, label: Tensor, *, weight: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """L_CE = -mean[y log s(d) + (1 - y) log s(-d)], d = (u_A - u_B) / T, s the logistic function.

    Args:
        first, second: utilities u_A, u_B, f[P]
        label: y = P(A truly better | counts), f[P] in 0..1. The paper has hard labels 0 and 1: near ties then teach
            noise at full strength.
        weight: f[P], at least 0; None weighs all alike.
        temperature: T > 0

    Returns:
        scalar; at its least when s(d) = y, log 2 when all utilities are equal.
    """
    terms = F.binary_cross_entropy_with_logits((first - second) / temperature, label, reduction="none")
    return _mean(terms, weight)


def centred_log_ctr_error(
    relative: Tensor, log_ctr: Tensor, product: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """L_Point = mean_i w_i [(r_i - r_product) - (t_i - t_product)]^2, t = log CTR, means weighted, within a product.

    The paper regresses the two CTRs of a pair, since absolute CTR varies by category. Centring log-CTR within the
    product does that for any number of pictures: a product's base rate, a factor on the CTR, drops out. A product with
    one picture adds nothing.

    Args:
        relative: r, f[N]
        log_ctr: t, f[N]
        product: index of each picture's product, i64[N], from 0
        weight: f[N] > 0, e.g. the precision of t; None weighs all alike.

    Returns:
        scalar; 0 when r and t differ by one constant per product.
    """
    gap = relative - log_ctr
    share = torch.ones_like(gap) if weight is None else weight
    products = int(product.max()) + 1
    total = gap.new_zeros(products).index_add(0, product, share * gap)
    mass = gap.new_zeros(products).index_add(0, product, share)
    return _mean((gap - (total / mass.clamp(min=1e-12))[product]).square(), weight)


def _mean(terms: Tensor, weight: Tensor | None) -> Tensor:
    return terms.mean() if weight is None else (weight * terms).sum() / weight.sum()
