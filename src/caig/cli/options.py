"""Options that several commands share, each spelled once."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caig.data.themes import themes
from caig.errors import InputError
from caig.imaging.placing import PRESETS
from caig.pipeline import check_product
from caig.recipes.generate import Config
from caig.types import Box, LayerFormat, Palette, Placement, Product, Size

DEFAULTS = Config()
SIZE = "{}x{}".format(*DEFAULTS.size)
MODEL_HELP = "embedded, a folder, owner/name on the hub, or python:module:factory."

Image = Annotated[Path, Parameter(help="Product photo.")]
Mask = Annotated[Path | None, Parameter(help="Mask of the photo's size, white on the product.")]
Title = Annotated[str, Parameter(help="What the product is, as its shop says it.")]
Category = Annotated[str, Parameter(help="Its category, e.g. wine; it helps both language and score.")]
CutoutMethod = Annotated[
    Literal["auto", "rembg"], Parameter(help="auto: mask, else alpha, else a plain ground; rembg: an optional extra.")
]
AdCount = Annotated[
    int | None,
    Parameter(name=("-n", "--n"), show_default=False, help="How many ads a product: 4, or 1 with --like."),
]
Like = Annotated[
    str | None, Parameter(help="An ad's picture of an earlier run, or a creative_id in --out: the same, once more.")
]
CatalogMap = Annotated[
    tuple[str, ...], Parameter(negative=(), show_default=False, help="FIELD=COLUMN of the catalogue; may repeat.")
]
ImageRoot = Annotated[
    Path | None, Parameter(help="Folder of the catalogue's image paths (default: the catalogue's own).")
]
Count = Annotated[int, Parameter(name=("-n", "--n"), help="How many ads or descriptions.")]
SizeText = Annotated[
    str, Parameter(name="--size", help=f"Width x height in pixels, 64 to 2048 each; or {', '.join(PRESETS)}.")
]
Seed = Annotated[int, Parameter(help="The same seed gives the same result.")]
Scale = Annotated[
    float | None,
    Parameter(
        help="The product's longer side over the canvas's shorter side, up to 1; in banners longer than twice their "
        "shorter side, its extent across the banner over that side. Default: 0.5, more in banners."
    ),
]
Position = Annotated[
    str | None,
    Parameter(help="X,Y: the product's centre over the width, its base over the height. Default: as usual there."),
]
Rolls = Annotated[int, Parameter(help="Paint an ad that breaks a promise again, so many times in all at most.")]
Negative = Annotated[str, Parameter(negative=(), help="What the background shall not show.")]
Theme = Annotated[str, Parameter(help=f"The look of a campaign: {', '.join(themes())}.")]
KeepClear = Annotated[
    str | None, Parameter(help="Calm space for copy: top, bottom, left, right, or X,Y,W,H over the canvas's sides.")
]
Reference = Annotated[Path | None, Parameter(help="Picture whose palette the backgrounds take on.")]
Format = Annotated[Literal["png", "webp", "jpeg"], Parameter(help="png is lossless.")]
SourceType = Annotated[
    Literal["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"],
    Parameter(help="IPTC term in the pictures' metadata; Google Merchant asks for the second."),
]
LayersTo = Annotated[LayerFormat | None, Parameter(help="Write background, shadow and product as layers too.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")]
PromptName = Annotated[
    str, Parameter(name="--prompt-model", help=f"Writes the descriptions: openai:URL#model, {MODEL_HELP}")
]
BackgroundName = Annotated[str, Parameter(name="--background-model", help=f"Paints: {MODEL_HELP}")]
RewardName = Annotated[str, Parameter(name="--reward-model", help=f"Predicts the CTR: {MODEL_HELP}")]
Compile = Annotated[
    bool, Parameter(name="--compile", negative=(), help="Compile the background model (torch.compile).")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a model works, and what its licence asks for."""

    device: Annotated[str | None, Parameter(help="cpu, cuda, cuda:1 …; by default a GPU when there is one.")] = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Parameter(help="By default float32 on a CPU and half precision on a GPU."),
    ] = None
    accept_licence: Annotated[
        tuple[str, ...], Parameter(negative=(), show_default=False, help="Licence that you accept; may repeat.")
    ] = ()


ANYWHERE = Place()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Models(Place):
    """The three models of a run; what is None is the preset's."""

    preset: Annotated[str, Parameter(help="Models and settings that go together: `caig models` lists them.")] = (
        "embedded"
    )
    prompt_model: PromptName | None = None
    background_model: BackgroundName | None = None
    reward_model: RewardName | None = None
    compile: Compile = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Who makes a catalogue's ads."""

    ray: Annotated[
        str | None,
        Parameter(help="Share a catalogue among workers (extra caig[ray]): local, or a Ray cluster's address."),
    ] = None
    workers: Annotated[
        int | None,
        Parameter(show_default=False, help="How many with --ray: one a GPU, or a processor without one."),
    ] = None


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


def placement_from(size: Size, scale: float | None, position: str | None) -> Placement | None:
    """Return the placement that a command line asks for, None for the format's usual one; InputError if impossible."""
    from caig.imaging.canvas import parse_position
    from caig.imaging.placing import usual_placement

    if scale is None and position is None:
        return None
    usual = usual_placement(size)
    x, y = (usual.x, usual.y) if position is None else parse_position(position)
    return Placement(scale=usual.scale if scale is None else scale, x=x, y=y)


def clear_from(keep_clear: str | None) -> Box | None:
    """Return the space to keep clear, None where none is asked for; InputError for no such space."""
    from caig.imaging.placing import parse_clear

    return None if keep_clear is None else parse_clear(keep_clear)


def palette_from(reference: Path | None) -> Palette | None:
    """Return the palette of a reference picture; ImageError when it cannot be read."""
    from caig.imaging.palette import palette_of
    from caig.imaging.reading import read_photo

    return None if reference is None else palette_of(read_photo(reference).image)


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

    own = Parameter(name="*", negative_iterable=(), consume_multiple=1)  # --legs unet decoder, or --legs twice
    command.__annotations__ = {"config": Annotated[stage.Config, own]}
    if all(field.default is not MISSING for field in fields(stage.Config)):
        command.__kwdefaults__ = {"config": stage.Config()}
    command.__doc__ = stage.__doc__
    return command


def load_model(name: str, role: Any, place: Place, **options: Any) -> Any:
    """Load the model called `name`, other libraries silenced; says on stderr where it was placed."""
    quiet()
    from caig.models.hub import accept_licences, load_model

    accept_licences(place.accept_licence)
    return load_model(name, role, device=place.device, dtype=place.dtype, **options)


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
