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
from functools import partial
from typing import Any, TypeVar

from caig.artifacts import to_json
from caig.data.catalog import RejectedRow
from caig.errors import InputError, MissingExtraError
from caig.recipes.generate import Config, Pace, Pipeline, attempt, facts, failure, finished, job_key, say
from caig.recipes.generate_report import Report, check_out, write_report
from caig.types import Product

LOCAL = "local"
Item = TypeVar("Item")
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
    found: dict[int, Any] = {}
    for index, row in each(partial(_ads, config), make, products, cluster=cluster, workers=workers):
        found[index] = row
        pace.step(products[index], row["lines"])
    lines = [line for index in range(len(products)) for line in found[index]["lines"]]
    lines += [failure(row, row.reason, row=row.row) for row in rejected]
    models = found[0]["models"] if found else {}
    kept = sum(row["kept"] for row in found.values())
    return write_report(config.out, lines, products, kept=kept, facts=facts(config, models))


def each(
    do: Callable[[Any, Item], Any],
    make: Callable[[], Any],
    items: Sequence[Item],
    *,
    cluster: str = LOCAL,
    workers: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """(index, `do(tool, item)` as JSON reads it) of every item, as they are done; each worker makes its `tool` once.

    `do` may run more than once for an item: where a worker was killed, another begins anew. InputError when workers
    cannot `make` their tool, or `do` raises.
    """
    with _connected(cluster, workers) as resources:
        from ray.exceptions import RayError

        try:
            for row in _rows(Worker, (do, make), items, workers, resources) if items else ():
                yield row["index"], json.loads(row["result"])
        except RayError as error:
            reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
            hint = "Without --ray the same command says more."
            expected = "workers that load the models and go on"
            raise InputError("--ray", expected=expected, got=reason[:300], next_step=hint) from error


class Worker:
    """Lives in a process of its own, for as long as there is work."""

    def __init__(self, do: Callable[[Any, Any], Any], make: Callable[[], Any]) -> None:
        self.do, self.tool = do, make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The result for one item."""
        return {"index": row["index"], "result": to_json(self.do(self.tool, row["item"]))}


def _ads(config: Config, pipeline: Pipeline, product: Product) -> dict[str, Any]:
    """The manifest lines of a product, made now or found done."""
    key = job_key(config, pipeline, product)
    kept = finished(config, product, key)
    lines = attempt(config, pipeline, product, key) if kept is None else kept
    return {"lines": lines, "kept": kept is not None, "models": pipeline.models()}


def _rows(
    worker: type, arguments: tuple[Any, ...], items: Sequence[Any], workers: int | None, has: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Rows of `worker`, in the order in which items are done."""
    import ray

    gpus = has.get("GPU", 0.0)
    count = min(workers or int(gpus or has["CPU"]), len(items))
    rows = [{"index": index, "item": item} for index, item in enumerate(items)]
    # A block an item: so nothing that is done waits for what is not, and a lost worker costs one item's time.
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    share = {"num_gpus": min(1.0, gpus / count)} if gpus else {}
    work = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1)
    yield from data.map(worker, fn_constructor_args=arguments, compute=work, **share).iter_rows()


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
