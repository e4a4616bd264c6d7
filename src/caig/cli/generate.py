"""`caig generate` and `caig demo`."""

from __future__ import annotations

from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options
from caig.cli.options import DEFAULTS
from caig.data.catalog import Catalog, read_catalog
from caig.errors import InputError
from caig.evaluation.gallery import count
from caig.pipeline import AdPipeline
from caig.recipes.generate import Config, run, say
from caig.recipes.generate_report import PAGE, Report, write_strip
from caig.recipes.likeness import read_likeness
from caig.types import Direction

THE_PRESETS, HERE = options.Models(), options.Cluster()


def generate(
    *,
    image: options.Image | None = None,
    title: options.Title | None = None,
    catalog: Annotated[Path | None, Parameter(help="csv, tsv, jsonl, json or parquet instead of one photo.")] = None,
    n: options.AdCount = None,
    size: options.SizeText | None = None,
    seed: options.Seed = DEFAULTS.seed,
    out: Annotated[Path, Parameter(help="Folder; finished products in it are kept.")] = DEFAULTS.out,
    category: options.Category = "",
    mask: options.Mask = None,
    scale: options.Scale = None,
    position: options.Position = None,
    rolls: options.Rolls = DEFAULTS.rolls,
    theme: options.Theme = "",
    negative: options.Negative = "",
    keep_clear: options.KeepClear = None,
    like: options.Like = None,
    reference: options.Reference = None,
    format: options.Format = DEFAULTS.format,
    digital_source_type: options.SourceType = DEFAULTS.digital_source_type,
    layers: options.LayersTo = None,
    map: options.CatalogMap = (),
    image_root: options.ImageRoot = None,
    cutout: options.CutoutMethod = "auto",
    cluster: options.Cluster = HERE,
    models: options.Models = THE_PRESETS,
) -> int:
    """Make ads of one product (--image, --title) or of a catalogue, ranked by predicted CTR.

    What is not given is the preset's. Writes OUT/<product id>/rank-1.png …, OUT/manifest.jsonl and OUT/index.html.
    """
    from caig.imaging.canvas import parse_size
    from caig.models.registry import preset

    chosen = preset(models.preset)
    pixels = parse_size(size or chosen.size or options.SIZE)
    direction = Direction(
        negative=negative.strip(),
        theme=theme.strip(),
        clear=options.clear_from(keep_clear),
        like=None if like is None else read_likeness(like, out),
        palette=options.palette_from(reference),
    )
    config = Config(
        out=out,
        n=n if n is not None else 1 if like else DEFAULTS.n,
        size=pixels,
        seed=seed,
        placement=options.placement_from(pixels, scale if scale is not None else chosen.scale, position),
        rolls=rolls,
        direction=direction,
        format=format,
        digital_source_type=digital_source_type,
        layers=layers,
    )
    source = _source(image, title, category, mask, catalog, map, image_root)
    report = _make(config, models, cutout, source, cluster, strict=catalog is None)
    _print(report)
    return report.exit_code


def _make(
    config: Config, models: options.Models, cutout: str, source: Catalog, cluster: options.Cluster, *, strict: bool
) -> Report:
    """Here, or by the workers of a cluster."""
    if cluster.ray is None:
        _reject("without --ray", {"--workers": cluster.workers})
        pipeline = _pipeline(models, cutout)
        return run(config, pipeline, source.products, rejected=source.rejected, strict=strict, overwrite=not strict)
    from caig import batch

    _reject("without --catalog", {"--ray": cluster.ray if strict else None})
    options.quiet()
    make, asked = partial(_pipeline, models, cutout), {"cluster": cluster.ray, "workers": cluster.workers}
    return batch.run(config, make, source.products, rejected=source.rejected, **asked)


def demo(*, out: Annotated[Path, Parameter(help="Folder for the results.")] = Path("out/demo")) -> int:
    """Make four ads of a product photo that ships with caig, a ranked strip and a page."""
    with as_file(files("caig") / "demo") as folder:
        catalog = read_catalog(folder / "product.csv")
        pipeline = _pipeline(THE_PRESETS)
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


def _pipeline(models: options.Models, cutout: str = "auto") -> AdPipeline:
    options.quiet()
    from caig.models.hub import accept_licences

    accept_licences(models.accept_licence)
    named = {key: value for key, value in vars(models).items() if key not in ("preset", "accept_licence")}
    return AdPipeline.from_pretrained(models.preset, cutout=cutout, **named)


def _print(report: Report) -> None:
    """Print what was written, one path a line, best ad of each product first."""
    for line in report.ads:
        print(report.out / line["file"])
    print(report.out / PAGE)
    broken = sum(bool(line["promises"]["broken"]) for line in report.ads)
    if broken:
        say(f"{count(broken, 'ad')} of {len(report.ads)} with a broken promise; {report.out / PAGE} says which")
    if report.failures:
        say(f"{count(len(report.failures), 'product')} failed; {report.out / PAGE} says why")
