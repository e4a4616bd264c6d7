"""The siamese reward model's head: what shoppers make of a picture, over tastes that all shops share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TASTES = 64  # dimensions in which pictures and products are compared: some looks, and every category with tastes


class Utility(nn.Module):
    """u = w . z + z^T M z in a space of few dimensions, z = tastes(hidden) f[B, K], for each of `members`.

    Which look suits which product is a product of the two, which no linear head on their sum can tell; pairwise terms
    are what factorization machines add to click models (Rendle 2010). All members share the space: what a picture is
    like is learned once. Where K other shops' (w, M) are known, a member's are

        their mean + sum_k mix_k (w_k, M_k - mean) / sqrt(K) + own * deviation,    mix and own ~ N(0, 1),

    so that before any click (w, M) has the mean of the shops, their covariance, and each coordinate's variance once
    more, of its own (empirical Bayes): few clicks have K numbers to decide, many find what no other shop likes.
    """

    def __init__(self, width: int, members: int, shops: int = 0, tastes: int = TASTES) -> None:
        super().__init__()
        self.tastes = nn.Linear(width, tastes)
        self.linear = nn.Parameter(torch.zeros(members, tastes) if shops else torch.randn(members, tastes) / tastes)
        self.pairwise = nn.Parameter(torch.zeros(members, tastes, tastes))
        self.mix = nn.Parameter(torch.zeros(members, shops))
        for name, shape in (("linear", (tastes,)), ("pairwise", (tastes, tastes))):
            self.register_buffer(f"shops_{name}", torch.zeros(1 + shops, *shape))  # the mean, then mix's directions
            self.register_buffer(f"spread_{name}", torch.ones(shape))  # of one coordinate; 1 where no shop is known

    def forward(self, hidden: Tensor) -> Tensor:
        """f32[B, members] of hidden states f32[B, d]."""
        z, linear, pairwise = self.tastes(hidden), self._likes("linear"), self._likes("pairwise")
        return z @ linear.T + torch.einsum("bi,mij,bj->bm", z, pairwise, z)

    def _likes(self, name: str) -> Tensor:
        """w f32[members, K] or M f32[members, K, K]."""
        own, shops, spread = getattr(self, name), getattr(self, f"shops_{name}"), getattr(self, f"spread_{name}")
        return shops[0] + torch.tensordot(self.mix, shops[1:], 1) + own * spread

    def surprise(self) -> Tensor:
        """Minus the log density of what each member likes, f32[members], in nats up to a constant: the prior that a new
        shop's clicks are added to; 0 where no other shop is known."""
        if not self.mix.numel():
            return self.linear.new_zeros(len(self.linear))
        return sum(own.flatten(1).square().sum(1) for own in (self.mix, self.linear, self.pairwise)) / 2  # type: ignore[return-value]

    @torch.no_grad()
    def of_shops(self, shops: int) -> Utility:
        """A member for each of new `shops`, over the same tastes: all like what others usually do, until they learn."""
        found = self._over_its_tastes(shops)
        for name in ("linear", "pairwise"):
            usual = getattr(self, f"shops_{name}")[0]
            getattr(found, name).copy_(usual.expand_as(getattr(found, name)))
        return found

    @torch.no_grad()
    def taught(self, members: int) -> Utility:
        """A new shop's ensemble, which takes this one's members for the other shops and likes what they usually do."""
        shops = len(self.linear)
        found = self._over_its_tastes(members, shops)
        for name in ("linear", "pairwise"):
            likes = self._likes(name)
            mean = likes.mean(0, keepdim=True)
            getattr(found, f"shops_{name}").copy_(torch.cat([mean, (likes - mean) / shops**0.5]))
            getattr(found, f"spread_{name}").copy_(likes.std(0, correction=0))
        return found

    def _over_its_tastes(self, members: int, shops: int = 0) -> Utility:
        found = Utility(self.tastes.in_features, members, shops, self.tastes.out_features).to(self.linear.device)
        found.tastes.load_state_dict(self.tastes.state_dict())
        return found
