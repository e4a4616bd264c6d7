"""What the loop was worth: CTR by cycle, lifts, regret, and a page with the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caig.artifacts import write_atomic
from caig.studies.loop import POLICIES, Config
from caig.studies.preference import in_blocks
from caig.types import Estimate

Floats = NDArray[np.float64]
WIDTH, HEIGHT, EDGE = 520, 260, 46  # pixels of a plot
COLOURS = {"uniform": "#777777", "thompson": "#1f5fa8", "loop": "#c2410c"}
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}"
    "figure{display:inline-block;margin:.5rem 1rem .5rem 0}svg{background:#fafafa}text{font:12px system-ui,sans-serif}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;border-top:1px solid #ddd}"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Arrays f64[cycles, worlds, products]: `ctr[policy]`, the true CTR of what was shown; `top[policy]`, of the best
    ad that it had in each cycle; `shoppers`. `best` f64[worlds, products]: of the best ad that any policy ever had."""

    ctr: Mapping[str, Floats]
    top: Mapping[str, Floats]
    shoppers: Floats
    best: Floats

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Results:
        """From the rows of `caig.studies.loop.cycle`, each policy with the same cycles, worlds and products."""
        axes = [sorted({row[name] for row in rows}) for name in ("cycle", "world", "product")]
        shape = tuple(len(axis) for axis in axes)
        ctr, top = ({policy: np.zeros(shape) for policy in POLICIES} for _ in range(2))
        shoppers = np.zeros(shape)
        for row in rows:
            place = tuple(axis.index(row[name]) for axis, name in zip(axes, ("cycle", "world", "product"), strict=True))
            ctr[row["policy"]][place], shoppers[place] = row["ctr"], row["shown"]
            top[row["policy"]][place] = max(row["ads"].values())
        best = np.max([one.max(0) for one in top.values()], axis=0)
        return cls(ctr=ctr, top=top, shoppers=shoppers, best=best)

    def estimates(self) -> list[Estimate]:
        """CTR by cycle and policy; lifts of the loop in the last cycle and over all; regret; what it had to show."""
        found = [
            in_blocks(f"cycle {k + 1}: true CTR, {policy}", *[of[k]] * 2, lambda gain, _: float(gain.mean()))
            for policy, of in self.ctr.items()
            for k in range(len(of))
        ]
        for other in ("uniform", "thompson"):
            found.append(lift(f"last cycle: lift of the loop over {other}", self.ctr["loop"][-1], self.ctr[other][-1]))
            means = [self.ctr[policy].mean(0) for policy in ("loop", other)]
            found.append(lift(f"all cycles: lift of the loop over {other}", *means))
        found.append(
            lift("last cycle: lift of thompson over uniform", self.ctr["thompson"][-1], self.ctr["uniform"][-1])
        )
        found.append(
            lift(
                "last cycle: best ad of the loop over the best first one",
                self.top["loop"][-1],
                self.top["thompson"][-1],
            )
        )
        for policy in self.ctr:
            lost = self.regret(policy).sum(0)
            name = f"regret of {policy}, clicks a product"
            found.append(in_blocks(name, lost, lost, lambda gain, _: float(gain.mean())))
        return found

    def regret(self, policy: str) -> Floats:
        """f64[cycles, worlds, products]: expected clicks lost against the best ad of the world's product."""
        return (self.best - self.ctr[policy]) * self.shoppers


def lift(name: str, of: Floats, over: Floats) -> Estimate:
    """exp(mean log CTR ratio) - 1 of f64[worlds, products]."""
    gain = np.log(of / over)
    return in_blocks(name, gain, gain, lambda g, _: float(np.expm1(g.mean())))


def write_page(config: Config, results: Results, estimates: Sequence[Estimate]) -> None:
    """Write `out/index.html`: true CTR by cycle, regret so far, and every estimate."""
    shown = {policy: [float(100 * row.mean()) for row in of] for policy, of in results.ctr.items()}
    lost = {policy: np.cumsum(results.regret(policy).mean((1, 2))).tolist() for policy in results.ctr}
    rows = "".join(
        f"<tr><td>{escape(e.name)}</td><td>{e.value:.4g}</td><td>{e.low:.4g} to {e.high:.4g}</td><td>{e.n}</td></tr>"
        for e in estimates
    )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>caig shop loop</title><style>{STYLE}</style>"
        f"<h1>The click loop in the simulated shop</h1><p>{config.worlds} worlds from seed {config.world_seed}, "
        f"{config.products} products, {config.shoppers} shoppers of each a cycle. The shoppers are simulated.</p>"
        f"{plot('True CTR of what was shown, %', shown)}{plot('Regret so far, clicks a product', lost)}"
        f"<table><tr><th>estimate</th><th>value</th><th>95 % interval</th><th>n</th></tr>{rows}</table></html>"
    )
    write_atomic(config.out / "index.html", page.encode())


def plot(title: str, series: Mapping[str, Sequence[float]]) -> str:
    """Lines over cycles as one SVG figure, each named at its end."""
    values = [value for row in series.values() for value in row]
    low, high = min(values), max(values)
    scale = (HEIGHT - 2 * EDGE) / (high - low or 1.0)
    longest = max(len(row) for row in series.values())
    step = (WIDTH - 3 * EDGE) / max(1, longest - 1)
    parts = []
    for name, row in series.items():
        points = [(EDGE + k * step, HEIGHT - EDGE - (value - low) * scale) for k, value in enumerate(row)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{COLOURS[name]}">{name} {row[-1]:.3g}</text>')
    ticks = "".join(
        f'<text x="{EDGE + k * step:.1f}" y="{HEIGHT - EDGE / 3:.1f}" text-anchor="middle">{k + 1}</text>'
        for k in range(longest)
    )
    sides = f'<text x="4" y="{HEIGHT - EDGE}">{low:.3g}</text><text x="4" y="{EDGE}">{high:.3g}</text>'
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)} by cycle">{"".join(parts)}{ticks}{sides}</svg></figure>'
    )
