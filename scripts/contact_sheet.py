"""Lay the ads of a `caig generate` run out as one sheet: a row per product, the photo first, then its ads by rank.

    python scripts/contact_sheet.py OUT SHEET.jpg [--catalog FILE] [--products 8] [--cell 320]

Under each ad stand its rank, the predicted CTR and the description it was painted from.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from caig.data.catalog import read_catalog

TEXT = 64  # pixels of caption under each picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--catalog", type=Path, help="to show the photos the ads were made of")
    parser.add_argument("--products", type=int, default=8)
    parser.add_argument("--cell", type=int, default=320)
    options = parser.parse_args()
    photos = {p.id: p.image for p in read_catalog(options.catalog).products} if options.catalog else {}
    rows = list(islice(rows_of(options.out).items(), options.products))
    columns = max(len(ads) for _, ads in rows) + bool(photos)
    sheet = Image.new("RGB", (columns * options.cell, len(rows) * (options.cell + TEXT)), "white")
    for number, (product, ads) in enumerate(rows):
        cells = [(photos[product], ads[0]["title"])] if product in photos else []
        cells += [(options.out / ad["file"], caption(ad)) for ad in ads]
        for column, (path, text) in enumerate(cells):
            place(sheet, path, text, column * options.cell, number * (options.cell + TEXT), options.cell)
    sheet.save(options.sheet, quality=88)


def rows_of(out: Path) -> dict[str, list[dict]]:
    """Finished ads of the run's manifest by product, in order of rank."""
    rows: dict[str, list[dict]] = {}
    for line in (out / "manifest.jsonl").read_text().splitlines():
        ad = json.loads(line)
        if ad["status"] == "done":
            rows.setdefault(ad["product_id"], []).append(ad)
    return {product: sorted(ads, key=lambda ad: ad["rank"]) for product, ads in rows.items()}


def caption(ad: dict) -> str:
    return f"{ad['rank']}. {ad['predicted_ctr']['name']} {ad['predicted_ctr']['value']:.2%}: {ad['description']}"


def place(sheet: Image.Image, path: Path, text: str, x: int, y: int, cell: int) -> None:
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((cell - 8, cell - 8))
    sheet.paste(picture, (x + 4, y + 4))
    wrapped = "\n".join(textwrap.wrap(text, cell // 6)[:4])
    ImageDraw.Draw(sheet).multiline_text((x + 6, y + cell), wrapped, fill="black", font=ImageFont.load_default(11))


if __name__ == "__main__":
    main()
