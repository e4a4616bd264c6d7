"""`caig generate` and `caig demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from caig.cli import options
from caig.cli.options import DEFAULTS
from caig.data.catalog import Catalog, read_catalog
from caig.errors import InputError
from caig.evaluation.gallery import count
from caig.pipeline import AdPipeline
from caig.recipes.generate import Config, run, say
from caig.recipes.generate_report import PAGE, Report, write_strip
from caig.types import Placement


def generate(
    *,
    image: options.Image | None = None,
    title: options.Title | None = None,
    catalog: Annotated[Path | None, Parameter(help="csv, tsv, jsonl, json or parquet instead of one photo.")] = None,
    preset: Annotated[
        str, Parameter(help="Models and settings that go together: `caig models` lists them.")
    ] = "embedded",
    n: options.Count = DEFAULTS.n,
    size: options.SizeText | None = None,
    seed: options.Seed = DEFAULTS.seed,
    out: Annotated[Path, Parameter(help="Folder; finished products in it are kept.")] = DEFAULTS.out,
    category: options.Category = "",
    mask: options.Mask = None,
    scale: options.Scale | None = None,
    position: options.Position = options.POSITION,
    format: options.Format = DEFAULTS.format,
    digital_source_type: options.SourceType = DEFAULTS.digital_source_type,
    layers: options.LayersTo = None,
    map: Annotated[
        tuple[str, ...], Parameter(negative=(), show_default=False, help="FIELD=COLUMN of the catalogue; may repeat.")
    ] = (),
    image_root: Annotated[
        Path | None, Parameter(help="Folder of the catalogue's image paths (default: the catalogue's own).")
    ] = None,
    cutout: options.CutoutMethod = "auto",
    prompt_model: options.PromptName | None = None,
    background_model: options.BackgroundName | None = None,
    reward_model: options.RewardName | None = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    compile: options.Compile = False,
    accept_licence: options.AcceptLicence = (),
) -> int:
    """Make ads of one product (--image, --title) or of a catalogue, ranked by predicted CTR.

    What is not given is the preset's. Writes OUT/<product id>/rank-1.png …, OUT/manifest.jsonl and OUT/index.html.
    """
    from caig.imaging.canvas import parse_position, parse_size
    from caig.models.registry import preset as preset_called

    chosen = preset_called(preset)
    x, y = parse_position(position)
    scale = DEFAULTS.placement.scale if (scale := scale or chosen.scale) is None else scale
    config = Config(
        out=out,
        n=n,
        size=parse_size(size or chosen.size or options.SIZE),
        seed=seed,
        placement=Placement(scale=scale, x=x, y=y),
        format=format,
        digital_source_type=digital_source_type,
        layers=layers,
    )
    source = _source(image, title, category, mask, catalog, map, image_root)
    pipeline = _pipeline(
        preset,
        accept_licence,
        prompt_model=prompt_model,
        background_model=background_model,
        reward_model=reward_model,
        cutout=cutout,
        device=device,
        dtype=dtype,
        compile=compile,
    )
    report = run(config, pipeline, source.products, rejected=source.rejected, strict=catalog is None)
    _print(report)
    return report.exit_code


def demo(*, out: Annotated[Path, Parameter(help="Folder for the results.")] = Path("out/demo")) -> int:
    """Make four ads of a product photo that ships with caig, a ranked strip and a page."""
    with as_file(files("caig") / "demo") as folder:
        catalog = read_catalog(folder / "product.csv")
        pipeline = _pipeline("embedded")
        report = run(Config(out=out), pipeline, catalog.products, strict=True)
        strip = write_strip(report, catalog.products[0])
    _print(report)
    print(strip)
    return report.exit_code


def _source(
    image: Path | None,
    title: str | None,
    category: str,
    mask: Path | None,
    catalog: Path | None,
    mapping: tuple[str, ...],
    root: Path | None,
) -> Catalog:
    """Return the products that the command names: those of the catalogue, or the one of --image and --title."""
    if catalog is not None:
        _reject("with --catalog", {"--image": image, "--title": title, "--mask": mask, "--category": category})
        found = read_catalog(catalog, options.parse_mapping(mapping), root=root)
        for remark in found.remarks:
            say(f"{catalog}: {remark}")
        return found
    _reject("without --catalog", {"--map": mapping, "--image-root": root})
    if image is None or title is None:
        missing = " and ".join(name for name, value in (("--image", image), ("--title", title)) if value is None)
        hint = "Name a photo and its title, or a catalogue."
        raise InputError("generate", expected="--image and --title, or --catalog", got=f"no {missing}", next_step=hint)
    return Catalog(products=(options.product_from(image, title, category, mask),))


def _reject(when: str, values: dict[str, object]) -> None:
    for name, value in values.items():
        if value:
            raise InputError(name, expected=f"no such option {when}", got=f"'{value}'", next_step="Leave it out.")


def _pipeline(preset: str, accept_licence: tuple[str, ...] = (), **options_of_pipeline: Any) -> AdPipeline:
    options.quiet()
    from caig.models.hub import accept_licences

    accept_licences(accept_licence)
    return AdPipeline.from_pretrained(preset, **options_of_pipeline)


def _print(report: Report) -> None:
    """Print what was written, one path a line, best ad of each product first."""
    for line in report.ads:
        print(report.out / line["file"])
    print(report.out / PAGE)
    if report.failures:
        say(f"{count(len(report.failures), 'product')} failed; {report.out / PAGE} says why")
