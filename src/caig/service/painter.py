"""The painter: a niced process of its own that takes jobs from the database, so that `decide` stays fast.

A job asks for n new ads of a product, or for one with an edited description. The product's original photo becomes a
creative too, laid out and judged like the others: campaigns show it as their control.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from caig.artifacts import content_hash, record_hash
from caig.errors import CaigError, InputError
from caig.evaluation.qualities import Reason, explain
from caig.imaging.reading import read_photo
from caig.models.hub import load_model
from caig.online.learned import name_in_use
from caig.online.schema import open_database, products
from caig.pipeline import AdPipeline, lay_out, read_cutout, utilities
from caig.seeding import seed_for
from caig.service import store
from caig.service.uploads import Files
from caig.types import Creative, Cutout, Description, Direction, Layers, Pixels, Product, Score, Size

NICENESS = 15
COMPARED = 8  # earlier ads that new ones are held against
WAIT = 0.5  # seconds between two looks for work


@dataclass(frozen=True, kw_only=True, eq=False)
class Painter:
    """Turns jobs into creatives. When the process `parent` is gone it stops; the next painter does the job anew."""

    engine: Engine
    files: Files
    pipeline: AdPipeline
    parent: int
    own: AdPipeline | None = None
    """The pipeline it began with, where `pipeline` is another."""

    @property
    def wanted(self) -> bool:
        """Whether the process that started this one still runs."""
        return os.getppid() == self.parent

    def work(self, job: store.Row) -> None:
        """Do one job: every picture is stored before the job is done; what fails is told in the job."""
        try:
            self._paint(job)
            store.set_job(self.engine, job["id"], status="done", message="")
        except CaigError as error:
            store.set_job(self.engine, job["id"], status="failed", message=str(error))
        except Exception as error:  # the next job may go well
            store.set_job(self.engine, job["id"], status="failed", message=f"unexpected {type(error).__name__}")
            print(f"painter: job {job['id']}: {error!r}", file=sys.stderr, flush=True)

    def up_to_date(self) -> Painter:
        """With the prompt and reward model that `caig learn` has put in use, its own where none is."""
        used = {f"{role}_model": self._in_use(role) for role in ("prompt", "reward")}
        return replace(self, own=self.own or self.pipeline, pipeline=replace(self.pipeline, **used))

    def _in_use(self, role: Any) -> Any:
        """The model in use for `role`; the present one where that can't be loaded."""
        name, present = name_in_use(self.engine, role), getattr(self.pipeline, f"{role}_model")
        if name is None:
            return getattr(self.own or self.pipeline, f"{role}_model")
        try:
            return present if name == present.name else load_model(name, role)
        except CaigError as error:  # the next cycle may put another in use
            print(f"painter: {present.name} stays: {error}", file=sys.stderr, flush=True)
            return present

    def _paint(self, job: store.Row) -> None:
        product, request = self.product(job["product_id"]), job["request"]
        cutout = self._cut_out(product)
        canvas = lay_out(cutout, (request["width"], request["height"]))
        made: list[Creative] = []
        self._tell(job, "describing")
        for k, description in enumerate(self._descriptions(product, cutout, request)):
            self._tell(job, "painting")
            seed = seed_for(request["seed"], k)
            made += self.pipeline.paint(product, canvas, [description], seed=seed)
            store.set_job(self.engine, job["id"], done=k + 1)
            if not self.wanted:
                raise SystemExit("painter: its server is gone")
        self._tell(job, "judging")
        self.keep(product, request, made)

    def _cut_out(self, product: Product) -> Cutout:
        """The product's cut-out; the merchant who reads the error has no files or command line here."""
        try:
            return read_cutout(product, self.pipeline.cutout)
        except InputError as error:
            hint = "Upload the product again with a mask, white on the product."
            raise InputError("photo", expected=error.expected, got=error.got, next_step=hint) from None

    def _tell(self, job: store.Row, message: str) -> None:
        store.set_job(self.engine, job["id"], message=message)

    def product(self, id: str) -> Product:
        """The product called `id`, its files in place."""
        row = store.get(self.engine, products, id)
        assert row is not None  # a job's product is there: the database sees to it
        mask = row["mask"] and self.files.path(row["mask"])
        photo = self.files.path(row["photo"])
        return Product(id=id, title=row["title"], category=row["category"], image=photo, mask=mask)

    def _descriptions(self, product: Product, cutout: Cutout, request: store.Row) -> Sequence[Description]:
        if request["description"] is None:
            direction = Direction(theme=request.get("theme") or "")
            return self.pipeline.describe(product, cutout, n=request["n"], seed=request["seed"], direction=direction)
        text = request["description"]
        return [Description(product_id=product.id, text=text, author="user", seed=request["seed"])]

    def keep(self, product: Product, request: store.Row, made: Sequence[Creative]) -> list[str]:
        """Judge and store what was made for a job's `request`, and the original beside it; the ids of what was made."""
        assert isinstance(product.image, Path)
        original = original_ad(product.image, (request["width"], request["height"]))
        pictures = [original, *(creative.image for creative in made)]
        ids = [creative_id(product, picture) for picture in pictures]
        scores = self.pipeline.reward_model.score(product, pictures, ids=ids)
        models = {role: dict(model) for role, model in self.pipeline.models().items()}
        kind = "generated" if request["description"] is None else "edited"
        rows = [self._row(product, original, scores[0], kind="original", models={"reward": models["reward"]})]
        why = self._reasons(product, pictures[1:], ids[1:])
        for creative, score, reasons in zip(made, scores[1:], why, strict=True):
            facts = {"description": creative.description.text, "seed": creative.seed, "parent": request["parent"]}
            facts |= {"reasons": [asdict(reason) for reason in reasons], "broken": list(creative.fidelity.broken)}
            row = self._row(product, creative.image, score, kind=kind, models=models, **facts)
            rows.append(row | {"layers": self._layers(creative.layers)})
        store.add_creatives(self.engine, rows)
        return ids[1:]

    def _reasons(self, product: Product, made: Sequence[Pixels], ids: Sequence[str]) -> list[list[Reason]]:
        """Why each is judged so, among themselves and the product's best earlier ads of their size."""
        height, width = made[0].shape[:2]
        rows = [
            row
            for row in store.ranked(self.engine, product.id)
            if row["kind"] != "original" and (row["width"], row["height"]) == (width, height) and row["id"] not in ids
        ]
        earlier = [read_photo(self.files.path(row["file"])).image for row in rows[:COMPARED]]
        judge = partial(utilities, self.pipeline.reward_model, product)
        return explain([*made, *earlier], judge, first=len(made))

    def _row(self, product: Product, image: Pixels, score: Score, **facts: Any) -> store.Row:
        from caig.imaging.writing import encode

        row: store.Row = {
            "id": score.creative_id,
            "product_id": product.id,
            "description": "",
            "parent": None,
            "layers": None,
            "reasons": [],
            "broken": [],
        }
        row |= {"width": image.shape[1], "height": image.shape[0]}
        row |= {"seed": 0, "locked": False, "created_at": store.now(), "file": self.files.save(encode(image), ".png")}
        row |= {name: float(getattr(score, name)) for name in ("utility", "ctr", "low", "high")}
        return {**row, "basis": score.basis, **facts}

    def _layers(self, layers: Layers | None) -> str | None:
        from caig.imaging.layered import encode_layers

        return None if layers is None else self.files.save(encode_layers(layers, "ora"), ".ora")


def creative_id(product: Product, picture: Pixels) -> str:
    """Under which a picture u8[H, W, 3] of a product is kept."""
    return record_hash([product.id, content_hash(picture)])


def original_ad(path: Path, size: Size) -> Pixels:
    """The photo as it is, fitted into `size` (W, H) with white around it: the campaign's control, u8[H, W, 3]."""
    from PIL import Image, ImageOps

    photo = read_photo(path)
    alpha = 1.0 if photo.alpha is None else photo.alpha[..., None]
    on_white = np.round(photo.image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(ImageOps.pad(Image.fromarray(on_white), size, color="white"))


def run(parent: int, url: str, folder: Path, names: Sequence[str]) -> None:
    """Work until the process `parent` that started this one is gone, it may be by now; `names` are the prompt,
    background and reward model's."""
    if os.getppid() != parent:
        return
    import torch

    os.nice(NICENESS)
    torch.set_num_threads(1)
    engine = open_database(url)
    prompt, background, reward = names
    pipeline = AdPipeline.from_pretrained(prompt_model=prompt, background_model=background, reward_model=reward)
    painter = Painter(engine=engine, files=Files(folder), pipeline=pipeline, parent=parent)
    store.requeue(engine)
    while painter.wanted:
        job = store.claim_job(engine)
        if job is None:
            time.sleep(WAIT)
        else:
            painter = painter.up_to_date()
            painter.work(job)


if __name__ == "__main__":
    try:
        run(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    except CaigError as error:  # e.g. a checkpoint that can't be loaded; /healthz tells that no painter runs
        sys.exit(f"painter: {error}")
