"""A catalogue over Ray Data: workers on this machine or on many make the products of one run (extra `caig[ray]`).

Each worker loads the models once and makes product after product. A product is done when its folder is there, whole; so
one that a killed worker had begun is made again by another, and what was done before is kept. Catalogue, photos and
`out` lie where every worker sees them under the same path.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from caig.artifacts import to_json
from caig.data.catalog import RejectedRow
from caig.errors import InputError, MissingExtraError
from caig.recipes.generate import Config, Pace, Pipeline, attempt, facts, failure, finished, job_key, say
from caig.recipes.generate_report import Report, check_out, write_report
from caig.types import Product

LOCAL = "local"
INHERITED = ("CAIG_ACCEPTED_LICENCES", "HF_HUB_OFFLINE", "HF_HUB_CACHE")  # what workers elsewhere must know too


def run(
    config: Config,
    make: Callable[[], Pipeline],
    products: Sequence[Product],
    *,
    cluster: str = LOCAL,
    workers: int | None = None,
    rejected: Sequence[RejectedRow] = (),
    progress: Callable[[str], None] = say,
) -> Report:
    """As `caig.recipes.generate.run`, by `workers` that each `make` a pipeline; the manifest is the same but for times.

    Args:
        make: loads the models; pickled
        cluster: the address of a Ray cluster (`ray://host:10001`, `host:6379`), or local: started here for this run
        workers: None: one for each GPU of the cluster, or for each processor where it has none

    Raises:
        InputError: `config.out` is no folder of caig's, workers are less than 1, or the cluster cannot be reached.
        MissingExtraError: Ray is not installed.
    """
    check_out(config.out)
    for row in rejected:
        progress(f"row {row.row} {row.id}: failed: {row.reason}")
    pace = Pace(progress, config, todo=len(products), kept=0)
    found: dict[int, Mapping[str, Any]] = {}
    with _connected(cluster, workers) as resources:
        for row in _made(config, make, products, workers, resources):
            found[row["index"]] = row | {"lines": json.loads(row["lines"])}
            pace.step(products[row["index"]], found[row["index"]]["lines"])
    lines = [line for index in range(len(products)) for line in found[index]["lines"]]
    lines += [failure(row, row.reason, row=row.row) for row in rejected]
    models = json.loads(found[0]["models"]) if found else {}
    kept = sum(row["kept"] for row in found.values())
    return write_report(config.out, lines, products, kept=kept, facts=facts(config, models))


class Worker:
    """Lives in a process of its own, for as long as there is work."""

    def __init__(self, config: Config, make: Callable[[], Pipeline]) -> None:
        self.config, self.pipeline = config, make()
        self.models = to_json(self.pipeline.models())

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The manifest lines of a product, made now or found done."""
        product: Product = row["product"]
        key = job_key(self.config, self.pipeline, product)
        kept = finished(self.config, product, key)
        lines = attempt(self.config, self.pipeline, product, key) if kept is None else kept
        return {"index": row["index"], "lines": to_json(lines), "kept": kept is not None, "models": self.models}


def _made(
    config: Config,
    make: Callable[[], Pipeline],
    products: Sequence[Product],
    workers: int | None,
    has: Mapping[str, float],
) -> Iterator[dict[str, Any]]:
    """Rows of `Worker`, in the order in which products are done."""
    import ray

    if not products:
        return
    gpus = has.get("GPU", 0.0)
    count = min(workers or int(gpus or has["CPU"]), len(products))
    items = [{"index": index, "product": product} for index, product in enumerate(products)]
    # A block a product: so nothing that is done waits for what is not, and a lost worker costs one product's time.
    data = ray.data.from_items(items, override_num_blocks=len(items))
    share = {"num_gpus": min(1.0, gpus / count)} if gpus else {}
    work = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1)
    yield from data.map(Worker, fn_constructor_args=(config, make), compute=work, **share).iter_rows()


@contextmanager
def _connected(cluster: str, workers: int | None) -> Iterator[Mapping[str, float]]:
    """The cluster's resources, while connected to it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    if workers is not None and workers < 1:
        raise InputError("workers", expected="1 or more", got=str(workers), next_step="Leave it out: one a GPU.")
    environment = {"env_vars": {name: os.environ[name] for name in INHERITED if name in os.environ}}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": environment}
    here = {"num_cpus": workers and max(workers + 1, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(**quiet, **(here if cluster == LOCAL else {"address": cluster}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        expected = "local, or the address of a running Ray cluster"
        hint = "Start one with `ray start --head`, or use --ray local."
        raise InputError("--ray", expected=expected, got=f"{cluster!r}: {str(error)[:120]}", next_step=hint) from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr):  # what Ray says of workers that died
            yield ray.cluster_resources()
    finally:
        ray.shutdown()
