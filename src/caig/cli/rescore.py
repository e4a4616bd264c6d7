"""`caig rescore`: the ads of an earlier run, judged by another reward model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options
from caig.errors import InputError

HERE = options.Cluster()


def rescore(
    out: Annotated[Path, Parameter(help="Folder of an earlier caig generate.")],
    *,
    reward_model: options.RewardName = "embedded",
    cluster: options.Cluster = HERE,
    place: options.Place = options.ANYWHERE,
) -> None:
    """Judge the ads in OUT by another reward model, in words of title and category; writes OUT/scores.jsonl."""
    from caig.recipes import rescore as stage

    if cluster.ray is None and cluster.workers is not None:
        hint = "Leave it out."
        raise InputError("--workers", expected="no such option without --ray", got=str(cluster.workers), next_step=hint)
    make = partial(options.load_model, reward_model, "reward", place)

    def results(ads: list[stage.Ads]) -> dict[int, list[dict[str, object]]]:
        if cluster.ray is None:
            model = make()
            return {index: stage.judge(model, one) for index, one in enumerate(ads)}
        from caig import batch

        return dict(batch.each(stage.judge, make, ads, cluster=cluster.ray, workers=cluster.workers))

    print(stage.run(out, results))
