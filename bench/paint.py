"""Pictures per second and peak memory of background models: python bench/paint.py --models embedded,sd15,sdxl

`sd15` and `sdxl` are full-size architectures with random weights; anything else is a name that caig loads. Each paints
n pictures of a product at once as caig does it, compiled too with --compile, and one at a time the way the public CAIG
code does it, at the same size of latents.
"""

from __future__ import annotations

from functools import partial

import published
from full_size import SIDES, TEXT, painter
from turns import Run, compare, opening, parser

from caig.models.hub import place, resolve
from caig.models.plates import PlateBank
from caig.testing import sample_canvas
from caig.types import Description

PLATES = "starts from plates; the published way has none: it paints from noise"


def ours(name: str, side: int, n: int, device: str, dtype: str, compiled: bool = False) -> Run:
    """Paint n pictures at once."""
    model, canvas = painter(name, device, dtype), sample_canvas(side, side)
    for part in (model.pipeline.unet, model.pipeline.controlnet) if compiled else ():
        part.compile()
    return lambda turn: len(model.paint(canvas, wishes(n), seeds=range(turn * n, turn * n + n)))


def theirs(name: str, side: int, device: str) -> Run:
    """Paint one picture."""
    model, canvas = published.Painter(painter(name, device, "float32")), sample_canvas(side, side)
    return lambda turn: len(model.paint(canvas, wishes(1), seeds=[turn]))


def wishes(n: int) -> list[Description]:
    return [Description(product_id="sample", text=TEXT, author="user", seed=k) for k in range(n)]


def main() -> None:
    options = parser(__doc__, models="embedded")
    options.add_argument("--sides", default="512", help="of the square pictures, in pixels, separated by commas")
    options.add_argument("-n", type=int, default=4, help="pictures at once")
    options.add_argument("--compile", action="store_true", help="measure the compiled model too")
    args = options.parse_args()
    device, dtype = place("background", args.device, args.dtype)
    print(f"{opening(device, dtype, args.turns)}; {args.n} pictures at once")
    for name in args.models.split(","):
        if name not in SIDES and PlateBank.read(resolve(name, "background")):
            print(f"{name} {PLATES}")
        for side in map(int, args.sides.split(",")):
            ways = {"caig": partial(ours, name, side, args.n, device, dtype)}
            if args.compile:
                ways["caig, compiled"] = partial(ours, name, side, args.n, device, dtype, compiled=True)
            ways["published way"] = partial(theirs, name, side, device)
            compare(f"{name} {side}²", "pictures", ways, args.turns)


if __name__ == "__main__":
    main()
