"""A contact sheet of rendered scenes with what they show."""

from __future__ import annotations

import io
import json
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw

from caig_scenes.labels import font
from caig_scenes.shards import read_members

CELL, TEXT, COLUMNS = 216, 46, 8


def make_sheet(folder: Path, file: Path, count: int = 40) -> None:
    """The first `count` scenes of `folder` as one picture; SystemExit when there are none."""
    members = {name: data for archive in sorted(folder.glob("scenes-*.tar")) for name, data in read_members(archive)}
    records = [json.loads(data) for name, data in sorted(members.items()) if name.endswith(".json")][:count]
    if not records:
        raise SystemExit(f"{folder}: expected scenes-*.tar, got none. Render first: caig-scenes --out {folder}")
    rows = -(-len(records) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + TEXT)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, record in enumerate(records):
        x, y = k % COLUMNS * CELL, k // COLUMNS * (CELL + TEXT)
        picture = Image.open(io.BytesIO(members[f"{record['id']}.image.webp"])).convert("RGB")
        picture.thumbnail((CELL - 6, CELL - 6), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2))
        words = f"{record['product']['category']}: {record['captions'][0]}"
        lines = textwrap.shorten(words, 112, placeholder=" …")
        draw.text((x + 4, y + CELL), textwrap.fill(lines, 38), font=font("text", 10), fill="#222222", spacing=2)
    sheet.save(file, quality=72, optimize=True)
