"""What floor, backdrop and props of one scene share: its chance, its colour scheme, and which places are taken."""

from __future__ import annotations

from random import Random

from caig_scenes.colors import NAMED, RGB, lightness, mix, rgb, turn_hue

Seen = tuple[str | RGB, float]  # what the camera sees where nothing stands: panorama or colour, and its strength
DARK: Seen = ((0.01, 0.01, 0.015), 1.0)
WOODS = ("b98a5a", "8a5a34", "d8b48a", "5a3a24", "c79a6a", "a3754a")


class Mood:
    """`tone` is the scene's colour, in harmony with the product's; `wood` the tree of its tables and shelves. `clear`
    is how far the product reaches from the origin on the floor, `taken` what stands where: (x, y, radius)."""

    def __init__(self, rng: Random, product: RGB, clear: float) -> None:
        self.rng, self.clear = rng, clear
        self.tone = self._tone(product)
        self.wood = rgb(rng.choice(WOODS))
        self.taken: list[tuple[float, float, float]] = []

    def _tone(self, product: RGB) -> RGB:
        """A muted colour that the product stands out from: its complement, a neighbour, its own tint, or a neutral."""
        neutral = rgb(self.rng.choice(["efe6da", "e3ddd4", "d9cfc4", "cfd6d8", "b9aea2", "5a5652", "2f3136"]))
        turned = turn_hue(product, self.rng.choice([0.5, 0.42, 0.08, -0.08, 0.0]), 0.6, 1.0)
        pastel = mix(turned, (0.85, 0.82, 0.78), self.rng.uniform(0.3, 0.7))
        strong = turn_hue(turned, 0, 1.2, 0.85)
        named = mix(rgb(self.rng.choice(list(NAMED.values()))), (0.8, 0.76, 0.7), self.rng.uniform(0.2, 0.6))
        choices = [neutral, pastel, pastel, strong, named]
        apart = [tone for tone in choices if abs(lightness(tone) - lightness(product)) > 16]
        return self.rng.choice(apart or choices)

    def pick(self, *choices: str) -> RGB:
        """One of some hex colours."""
        return rgb(self.rng.choice(choices))

    def between(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def spots(
        self, count: int, radius: float, *, near: float = 0.25, far: float = 2.2, front: float = -0.4, back: float = 2.4
    ) -> list[tuple[float, float]]:
        """Up to `count` free places (x, y) for things of `radius`, beside and behind the product, not before it: at
        least `near` and at most `far` from its side, `front` < y < `back`. What finds no place is left out."""
        found = []
        for _ in range(12 * count):
            x, y = self.rng.uniform(-1, 1) * (self.clear + far), self.rng.uniform(front, back)
            beside = abs(x) > self.clear + radius + near
            behind = y > self.clear + radius + 0.3
            if not (beside or behind) or any((x - a) ** 2 + (y - b) ** 2 < (radius + r) ** 2 for a, b, r in self.taken):
                continue
            self.taken.append((x, y, radius))
            found.append((x, y))
            if len(found) == count:
                break
        return found

    def side(self, reach: float, *, back: float = 1.0) -> tuple[float, float]:
        """A place left or right of the product for one big thing of radius `reach`."""
        x = self.rng.choice([-1, 1]) * (self.clear + reach + self.rng.uniform(0.1, 0.5))
        y = self.rng.uniform(0.2, back)
        self.taken.append((x, y, reach))
        return x, y
