"""A whole run: products and scenes in shards over processes, resumable, the same bytes over any number of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from caig_scenes.plan import plan_plate, plan_product, plan_scene
from caig_scenes.shards import Draw, Record, merge_shards, write_shard
from caig_scenes.vocabulary import vocabulary

SHARD = 20  # records; what a killed process loses at most


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the pictures depend on. It is kept in `run.json`, and a folder holds one run only."""

    products: int
    scenes: int
    plates: int = 0
    side: int = 0
    """Longer side of scenes and plates in pixels; 0: as planned, from 256 to 640."""
    seed: int


def draw_product(record: Record) -> Mapping[str, bytes]:
    from caig_scenes.draw import draw_product  # bpy belongs to the workers

    return draw_product(record)


def draw_scene(record: Record) -> Mapping[str, bytes]:
    from caig_scenes.draw import draw_scene

    return draw_scene(record)


def draw_plate(record: Record) -> Mapping[str, bytes]:
    from caig_scenes.draw import draw_plate

    return draw_plate(record)


DRAWS: Mapping[str, Draw] = {"product": draw_product, "scene": draw_scene, "plate": draw_plate}


def render(run: Run, out: Path, jobs: int, *, draws: Mapping[str, Draw] = DRAWS) -> None:
    """Render `run` into the folder `out`, over `jobs` processes; what is there already stays.

    SystemExit when the folder holds another run.
    """
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    _claim(run, out)
    for left in [*out.glob("*.part"), *parts.glob("*.part")]:
        left.unlink()
    (out / "suitability.json").write_text(
        json.dumps({name: row["settings"] for name, row in vocabulary()["categories"].items()}, indent=1)
    )
    product_parts = [parts / f"products-{k:04d}.tar" for k in range(-(-run.products // SHARD))]
    shards = [] if (out / "products.tar").exists() else [(path, "product", k) for k, path in enumerate(product_parts)]
    for kind, count in (("plate", run.plates), ("scene", run.scenes)):
        shards += [(out / f"{kind}s-{k:04d}.tar", kind, k) for k in range(-(-count // SHARD))]
    tasks = [(path, kind, k, run, draws[kind]) for path, kind, k in shards]
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        for done, shard in enumerate(as_completed([pool.submit(_write, task) for task in tasks]), 1):
            print(f"{done}/{len(tasks)} {shard.result().name}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    if not (out / "products.tar").exists():
        merge_shards(out / "products.tar", product_parts)
    for path in product_parts:
        path.unlink(missing_ok=True)
    parts.rmdir()


def _write(task: tuple[Path, str, int, Run, Draw]) -> Path:
    path, kind, shard, run, draw = task
    last = {"product": run.products, "plate": run.plates, "scene": run.scenes}[kind]
    numbers = range(shard * SHARD, min((shard + 1) * SHARD, last))
    if kind == "product":
        write_shard(path, (plan_product(run.seed, number) for number in numbers), draw)
    else:
        plan = plan_plate if kind == "plate" else plan_scene
        write_shard(path, (_sized(plan(run.seed, number, run.products), run.side) for number in numbers), draw)
    return path


def _sized(record: Record, side: int) -> Record:
    """The record with `side` as its picture's longer side, both sides even; 0 leaves it."""
    if not side:
        return record
    scale = side / max(record["size"])
    return {**record, "size": [2 * round(scale * length / 2) for length in record["size"]]}


def _claim(run: Run, out: Path) -> None:
    file = out / "run.json"
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(run)))
        os.replace(part, file)
    if (there := json.loads(file.read_text())) != asdict(run):
        raise SystemExit(
            f"{out}: expected the run {asdict(run)}, got {there}. Use another --out, or the same numbers and seed."
        )


def _start_worker() -> None:
    """Silence Blender, which prints every sample to standard output, and end with the parent, even if that is killed:
    a queue alone would keep the worker waiting for ever."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
