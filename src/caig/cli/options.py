"""Options that several commands share, each spelled once."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caig.errors import InputError
from caig.pipeline import check_product
from caig.recipes.generate import Config
from caig.types import LayerFormat, Product

DEFAULTS = Config()
SIZE = "{}x{}".format(*DEFAULTS.size)
POSITION = f"{DEFAULTS.placement.x:g},{DEFAULTS.placement.y:g}"
MODEL_HELP = "embedded, a folder, owner/name on the hub, or python:module:factory."

Image = Annotated[Path, Parameter(help="Product photo.")]
Mask = Annotated[Path | None, Parameter(help="Mask of the photo's size, white on the product.")]
Title = Annotated[str, Parameter(help="What the product is, as its shop says it.")]
Category = Annotated[str, Parameter(help="Its category, e.g. wine; it helps both language and score.")]
CutoutMethod = Annotated[
    Literal["auto", "rembg"], Parameter(help="auto: mask, else alpha, else a plain ground; rembg: an optional extra.")
]
Count = Annotated[int, Parameter(name=("-n", "--n"), help="How many ads or descriptions.")]
SizeText = Annotated[
    str, Parameter(name="--size", help="Width x height in pixels, 64 to 2048 each; or 1:1, 4:5, 9:16, 16:9, 1.91:1.")
]
Seed = Annotated[int, Parameter(help="The same seed gives the same result.")]
Scale = Annotated[float, Parameter(help="The product's longer side over the canvas's shorter side, up to 1.")]
Position = Annotated[str, Parameter(help="X,Y: the product's centre over the width, its base over the height.")]
Format = Annotated[Literal["png", "webp", "jpeg"], Parameter(help="png is lossless.")]
SourceType = Annotated[
    Literal["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"],
    Parameter(help="IPTC term in the pictures' metadata; Google Merchant asks for the second."),
]
LayersTo = Annotated[LayerFormat | None, Parameter(help="Write background, shadow and product as layers too.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")]
PromptName = Annotated[str, Parameter(name="--prompt-model", help=f"Writes the descriptions: {MODEL_HELP}")]
BackgroundName = Annotated[str, Parameter(name="--background-model", help=f"Paints: {MODEL_HELP}")]
RewardName = Annotated[str, Parameter(name="--reward-model", help=f"Predicts the CTR: {MODEL_HELP}")]
Device = Annotated[str | None, Parameter(help="cpu, cuda, cuda:1 …; by default a GPU when there is one.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    Parameter(help="By default float32 on a CPU and half precision on a GPU."),
]
Compile = Annotated[
    bool, Parameter(name="--compile", negative=(), help="Compile the background model (torch.compile).")
]
AcceptLicence = Annotated[
    tuple[str, ...],
    Parameter(name="--accept-licence", negative=(), show_default=False, help="Licence that you accept; may repeat."),
]


def product_from(image: Path, title: str, category: str, mask: Path | None) -> Product:
    """Return the product of a command line, its files checked; its id is the photo's name without suffix.

    Raises:
        InputError: the title is empty, or the photo or mask cannot be read.
    """
    from caig.imaging.reading import read_photo

    product = Product(id=image.stem, title=" ".join(title.split()), category=category, image=image, mask=mask)
    check_product(product)
    for path in filter(None, (image, mask)):
        read_photo(path)
    return product


def parse_mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return field -> column of FIELD=COLUMN pairs; InputError for anything else."""
    for pair in pairs:
        if not all(pair.partition("=")):
            hint = "Write --map FIELD=COLUMN, e.g. --map title=name."
            raise InputError("--map", expected="FIELD=COLUMN", got=f"'{pair}'", next_step=hint)
    return {field.strip(): column.strip() for field, _, column in (pair.partition("=") for pair in pairs)}


def command_of(module: str, show: Callable[[Any], None] = print) -> Callable[..., None]:
    """Return a command whose options are the fields of `<module>.Config`, no more and no fewer; `show` gets what the
    module's `run` returns."""
    stage = importlib.import_module(module)

    def command(*, config: Any) -> None:
        quiet()
        show(stage.run(config))

    command.__annotations__ = {"config": Annotated[stage.Config, Parameter(name="*", negative_iterable=())]}
    if all(field.default is not MISSING for field in fields(stage.Config)):
        command.__kwdefaults__ = {"config": stage.Config()}
    command.__doc__ = stage.__doc__
    return command


def load_model(name: str, role: Any, accept_licence: tuple[str, ...] = (), **options: Any) -> Any:
    """Load the model called `name`, other libraries silenced; says on stderr where it was placed."""
    quiet()
    from caig.models.hub import accept_licences, load_model

    accept_licences(accept_licence)
    return load_model(name, role, **options)


def quiet() -> None:
    """Keep other libraries' chatter off the terminal; caig's own lines go to stderr."""
    if not logging.getLogger("caig").handlers:
        logging.getLogger("caig").addHandler(_ToStderr())
        logging.getLogger("caig").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for library in ("transformers", "diffusers", "huggingface_hub"):
        os.environ.setdefault(f"{library.upper()}_VERBOSITY", "error")
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module="caig")


class _ToStderr(logging.Handler):
    """Prints each line to what stderr is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)
