"""A run over Ray of plain pictures, in a process of its own: python -m tests.ray_toys OUT SHELF [--kill]"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from caig import batch
from caig.recipes.generate import Config
from caig.types import Product, RankedAd
from tests.recipes.fake_pipeline import FakePipeline

CONFIG = {"n": 2, "size": (64, 64)}
BROKEN = {"p2": ValueError("no such luck")}


class Mortal(FakePipeline):
    """Notes who made what; is killed once, in the midst of product p3, where it is to be."""

    def __init__(self, notes: Path, kill: bool) -> None:
        super().__init__(broken=dict(BROKEN))
        self.notes, self.kill = notes, kill

    def generate(self, product: Product, **asked: object) -> Sequence[RankedAd]:
        with (self.notes / product.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if self.kill and product.id == "p3" and len((self.notes / "p3").read_text().splitlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(product, **asked)  # type: ignore[arg-type]


def shelf(folder: Path) -> list[Product]:
    """Six products; what their photos show is of no account."""
    photos = sorted(folder.glob("*.png"))
    return [Product(id=f"p{k}", title=f"product {k}", image=photo) for k, photo in enumerate(photos)]


def main(out: Path, folder: Path, kill: bool) -> int:
    notes = out.with_name(f"{out.name}-notes")
    notes.mkdir(exist_ok=True)
    config = Config(out=out, **CONFIG)  # type: ignore[arg-type]
    report = batch.run(config, partial(Mortal, notes, kill), shelf(folder), workers=2)
    print(f"{len(report.ads)} ads, {len(report.failures)} failures, {report.kept} kept")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), "--kill" in sys.argv))
