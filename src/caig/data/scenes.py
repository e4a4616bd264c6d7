"""Reader of rendered scenes: a folder of `scenes-*.tar`, `products.tar` and `suitability.json`.

Per scene `<id>.image.webp` (the whole picture, RGB), `<id>.product.webp` (RGBA: the same product, pose and camera under
neutral light) and `<id>.json` (its record); per product `<id>.image.webp` (RGBA) and `<id>.json`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caig.artifacts import write_atomic
from caig.errors import InputError

SPLITS = ("test", "validation", "train", "train", "train", "train", "train")


def split_of(product_id: str) -> str:
    """Return train, validation or test: product number modulo 7, so that no product lies in two splits."""
    return SPLITS[int(product_id.lstrip("p")) % len(SPLITS)]


def decode(data: bytes, mode: str) -> NDArray[np.uint8]:
    """Decode an encoded picture to u8[H, W, 3 or 4]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductRecord:
    """One rendered product; `record` holds id, category, title, brand, color, tags and price."""

    record: Mapping[str, Any]
    encoded_image: bytes

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def split(self) -> str:
        return split_of(self.id)

    def rgba(self) -> NDArray[np.uint8]:
        """u8[H, W, 4]: the product under neutral light."""
        return decode(self.encoded_image, "RGBA")


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneRecord:
    """One rendered scene; `record` holds the product and the scene's factors and captions."""

    record: Mapping[str, Any]
    archive: str
    encoded_image: bytes
    encoded_product: bytes

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def product(self) -> Mapping[str, Any]:
        return self.record["product"]

    @property
    def split(self) -> str:
        return split_of(self.product["id"])

    @property
    def painted(self) -> bool:
        """Whether a background model made it, not the renderer."""
        return self.archive.startswith("painted-")

    def image(self) -> NDArray[np.uint8]:
        """u8[H, W, 3]: the whole picture."""
        return decode(self.encoded_image, "RGB")

    def cutout(self) -> NDArray[np.uint8]:
        """u8[H, W, 4]: the product alone, same size and place as in `image`."""
        return decode(self.encoded_product, "RGBA")


def read_scenes(folder: Path, *, painted: bool = False) -> list[SceneRecord]:
    """Read every scene of `folder`'s `scenes-*.tar`, in order of id, and with `painted` those that a background model
    painted (`painted-*.tar`, from `caig shop paint`) too; InputError when there is none."""
    kinds = ("scenes", "painted") if painted else ("scenes",)
    archives = sorted(path for kind in kinds for path in Path(folder).glob(f"{kind}-*.tar"))
    scenes = [
        SceneRecord(
            record=json.loads(files["json"]),
            archive=archive.name,
            encoded_image=files["image.webp"],
            encoded_product=files["product.webp"],
        )
        for archive in archives
        for files in read_groups(archive, {"json", "image.webp", "product.webp"})
    ]
    if not scenes:
        raise _missing(folder, "scenes-*.tar")
    return sorted(scenes, key=lambda scene: scene.id)


def read_products(folder: Path) -> list[ProductRecord]:
    """Read every product of `folder`'s `products.tar`, in order of id; InputError when there is none."""
    archive = Path(folder) / "products.tar"
    if not archive.is_file():
        raise _missing(folder, "products.tar")
    groups = read_groups(archive, {"json", "image.webp"})
    records = [ProductRecord(record=json.loads(g["json"]), encoded_image=g["image.webp"]) for g in groups]
    return sorted(records, key=lambda product: product.id)


def read_suitability(folder: Path) -> dict[str, list[str]]:
    """Read which settings suit which category."""
    path = Path(folder) / "suitability.json"
    if not path.is_file():
        raise _missing(folder, "suitability.json")
    return json.loads(path.read_text())


def read_groups(archive: Path, suffixes: Set[str]) -> Iterator[dict[str, bytes]]:
    """Yield each record's files of `suffixes` by suffix; InputError names a record that lacks one."""
    groups: dict[str, dict[str, bytes]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            stem, _, suffix = member.name.partition(".")
            if file is not None and suffix in suffixes:
                groups.setdefault(stem, {})[suffix] = file.read()
    for stem, files in groups.items():
        if missing := suffixes - files.keys():
            raise InputError(
                f"{archive}: {stem}",
                expected=f"the files {sorted(suffixes)}",
                got=f"none for {sorted(missing)}",
                next_step="Render the archive again.",
            )
        yield files


def write_archive(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write named files as a tar, whole or not at all; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    write_atomic(path, buffer.getvalue())


def _missing(folder: Path, what: str) -> InputError:
    return InputError(
        str(folder), expected=f"a folder with {what}", got="none there", next_step="Point --data at rendered scenes."
    )
