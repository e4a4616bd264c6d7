"""Losses of the reward model (CAIG, stage b), as pure functions of tensors.

The paper: L = lambda1 L_CE + lambda2 L_Point, where a pair of pictures in one sequence yields two class logits (their
difference is the pair's logit) and two CTRs. Siamese, each picture yields one utility u by itself, so that the pair's
logit is u_A - u_B, and relative log CTR is a multiple of u.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pairwise_cross_entropy(first: Tensor, second: Tensor, label: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """L_CE = -mean[y log s(d) + (1 - y) log s(-d)], d = u_A - u_B, s the logistic function.

    Args:
        first, second: utilities u_A, u_B, f[P]
        label: y = P(A truly better | counts), f[P] in 0..1. The paper has hard labels 0 and 1: near ties then teach
            noise at full strength.
        weight: f[P], at least 0; None weighs all alike.

    Returns:
        scalar; at its least when s(d) = y, log 2 when all utilities are equal.
    """
    terms = F.binary_cross_entropy_with_logits(first - second, label, reduction="none")
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


def click_share_error(
    relative: Tensor, clicks: Tensor, impressions: Tensor, product: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """L_Point as a likelihood: which of its product's pictures each click fell on, in nats a click above the best fit.

        p_i = n_i exp(r_i) / sum_j n_j exp(r_j),   q_i = c_i / sum_j c_j      (sums over the pictures of i's product)
        L = sum_i w c_i log(q_i / p_i) / sum_i w c_i

    The conditional logit of McFadden 1974: a product's base rate drops out, as it does by centring, and each picture
    counts for as much as its clicks tell. Squared errors of log CTR are off where clicks are few.

    Args:
        relative: r, f[N], log CTR up to a constant per product
        clicks, impressions: c and n, f[N], at least 0
        product: index of each picture's product, i64[N], from 0
        weight: w of each product, f[J]; None weighs all alike.

    Returns:
        scalar, at least 0; 0 when exp(r) is proportional to c / n within each product, or without clicks.
    """
    products = int(product.max()) + 1
    shown = relative + impressions.clamp(min=1e-9).log()
    peak = shown.new_full((products,), -torch.inf).scatter_reduce(0, product, shown.detach(), "amax")[product]
    total, own = (shown.new_zeros(products).index_add(0, product, x) for x in ((shown - peak).exp(), clicks))
    log_chance = shown - peak - total[product].log()
    log_share = torch.where(clicks > 0, clicks / own[product].clamp(min=1e-9), 1.0).log()
    told = clicks if weight is None else clicks * weight[product]
    return (told * (log_share - log_chance)).sum() / told.sum().clamp(min=1e-9)


def _mean(terms: Tensor, weight: Tensor | None) -> Tensor:
    return terms.mean() if weight is None else (weight * terms).sum() / weight.sum()
