"""After training: calibration on validation products, export as fp16, the exported model's metrics on test products."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from caig.artifacts import published_folder, record_hash, to_json
from caig.data.comparisons import agreement_if_known
from caig.errors import CatalogError, CheckpointError
from caig.evaluation.metrics import (
    agreement,
    bootstrap,
    calibration_error,
    calibration_gaps,
    kendall_tau,
    mean,
    way,
)
from caig.evaluation.ranking import ndcg, risk_coverage
from caig.models.reward_model import Calibration, RewardModel, RewardNetwork, category_key, save_reward
from caig.recipes.reward import Config
from caig.recipes.reward.samples import ProductClicks, Samples, read_log, tell
from caig.types import Estimate, Score

TEMPERATURES = np.geomspace(0.05, 20, 241)
CERTAIN = 1 - 1e-9  # no order is surer, whatever the clicks say
LEAST_SLOPE = 1e-3  # CTR must rise with utility, even of a model that learned nothing
LEAST_SPREAD = 0.02
FP16_TOLERANCE = 0.05  # logits
SUREST = {  # points of the risk-coverage curve
    "the surest tenth of the pairs": 0.1,
    "the surest quarter of the pairs": 0.25,
    "the surest half of the pairs": 0.5,
    "the surest three quarters of the pairs": 0.75,
    "all the pairs": 1.0,
}
LARGEST_SIDE = 512  # of the pictures that a model of another kind is given

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """A product with the scores of its pictures."""

    clicks: ProductClicks
    scores: list[Score]

    @property
    def utility(self) -> Floats:
        return np.array([score.utility for score in self.scores])

    def doubt(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
        """f64[P], 0 to 1/2: the chance that each pair's likelier order is wrong, as the ensemble's mean probability has
        it (Lakshminarayanan et al. 2017); a score without members is its own only one."""
        members = np.array([score.members or (score.utility,) for score in self.scores])
        margin = members[first] - members[second]
        # Each side's sigmoids for themselves, since 1 - p would tie all pairs that are nearly certain.
        lost, won = (np.exp(-np.logaddexp(0, side)).mean(1) for side in (margin, -margin))
        return np.minimum(lost, won)


def export(
    config: Config,
    network: RewardNetwork,
    processor: Any,
    samples: Samples,
    truth: Mapping[str, float] | None,
    *,
    seconds: float,
) -> Path:
    """Calibrate, write `out`/model with its training.json, and return the folder. `truth`: of `read_truth`.

    CheckpointError when the fp16 copy ranks otherwise than the trained weights.
    """
    side = samples.train[0].pictures[0].shape[0]
    neutral = uncalibrated(config, side)
    trained = RewardModel(network, processor, neutral, name="trained")
    fitted = samples.validation or samples.train  # a log too small for a validation product: too sure, but usable
    calibration = calibrate(judge(trained, fitted), samples.train, neutral)
    folder = config.out / "model"
    with published_folder(folder) as partial:
        save_reward(network, processor, calibration, partial)
        exported = RewardModel.from_pretrained(str(partial), device="cpu")
        calibrated = RewardModel(network, processor, calibration, name="trained")
        parity = check_parity(calibrated, exported, fitted)
        report = {
            "recipe": "caig train reward",
            "config": {name: bare_name(value) for name, value in vars(config).items()},
            "data": describe(samples),
            "seconds": round(seconds),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "fp16": parity,
            "metrics": measure(judge(exported, samples.compared), truth),
        }
        (partial / "training.json").write_text(to_json(report, indent=2) + "\n", encoding="utf-8")
    print(*report["metrics"], sep="\n")
    return folder


def evaluate(
    model: Any, data: Path, clicks: Path, *, catalog: Path | None = None, truth: Path | None = None
) -> list[Estimate]:
    """Metrics of any reward model on the log's held-out products; says on stderr what of the log was left out.

    CatalogError when no held-out product has two usable pictures, or the true CTR of one is not known.
    """
    calibration = getattr(model, "calibration", None)
    samples = read_log(data, [clicks], catalog, calibration.image_side if calibration else LARGEST_SIDE)
    if not samples.compared:
        found = "\n".join(map(str, samples.rejected))
        hint = "A seventh of the products is held out, by a hash of their ids: collect more."
        wanted = "a held-out product with two pictures"
        raise CatalogError(str(clicks), expected=wanted, got=found or "none", next_step=hint)
    known = read_truth(truth, samples)
    tell(samples)
    return measure(judge(model, samples.compared), known)


def bare_name(value: Any) -> Any:
    """A path's last part alone: folders are the machine's business, not the model's. JSON knows no infinity."""
    if isinstance(value, tuple):
        return [str(part) if part == math.inf else part for part in value]
    return Path(value).name if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_dir()) else value


def uncalibrated(config: Config, side: int) -> Calibration:
    """Leaves utilities raw; its CTRs mean nothing yet."""
    return Calibration(
        temperature=1,
        slope=1,
        offset=0,
        spread=1,
        base_rates={},
        global_rate=0.01,
        global_offset=0,
        global_spread=1,
        calibrated_on=config.calibrated_on,
        image_side=side,
        form=config.form,
        layout=config.layout,
    )


def judge(model: Any, products: Sequence[ProductClicks]) -> list[Judged]:
    """Score every picture of every product."""
    return [
        Judged(clicks=p, scores=model.score(p.product, p.pictures, ids=[c.creative_id for c in p.creatives]))
        for p in products
    ]


def calibrate(judged: Sequence[Judged], train: Sequence[ProductClicks], neutral: Calibration) -> Calibration:
    """Fit temperature, slope, offset and spread on `judged` (raw utilities), base rates on `train`.

    Temperature: most likelihood of the clicks. Slope: weighted least squares of log CTR on utility, both
    centred within the product. Spread: what the prediction leaves of log CTR, less its sampling variance 1 / clicks.
    """
    temperature = fit_temperature(judged)
    rates, global_rate = base_rates(train)
    utility = [j.utility / temperature for j in judged]
    slope = fit_slope(utility, judged)
    own = [math.log(rates.get(category_key(j.clicks.product.category), global_rate)) for j in judged]
    offset, spread = fit_offset(utility, judged, own, slope)
    global_offset, global_spread = fit_offset(utility, judged, [math.log(global_rate)] * len(judged), slope)
    return replace(
        neutral,
        temperature=temperature,
        slope=slope,
        offset=offset,
        spread=spread,
        base_rates=rates,
        global_rate=global_rate,
        global_offset=global_offset,
        global_spread=max(spread, global_spread),
    )


def fit_temperature(judged: Sequence[Judged]) -> float:
    """The temperature T of most likelihood over all pairs, the sum of log(p s + (1 - p) (1 - s)), p = sigmoid(gap / T)
    and s = P(first better | counts) of a prior that knows no first; 1 when no pair has a gap.

    What counts say is then evidence, not the truth: least cross-entropy with s, which is near to one half where clicks
    are few, makes any model as unsure as they are (docs/LOG.md). One pair more of typical gap is taken to be right and
    one wrong (rule of succession), so that a few that are all right make no model certain.
    """
    pairs = [(j.utility, j.clicks.better, *np.triu_indices(len(j.scores), 1)) for j in judged]
    gap = np.concatenate([u[a] - u[b] for u, _, a, b in pairs])
    tilt = np.concatenate([2 * better[a, b] - 1 for _, better, a, b in pairs])
    if not gap.any():
        return 1.0
    typical = np.sqrt((gap**2).mean())

    def likelihood(t: float) -> float:
        one_more = -np.logaddexp(0, -typical / t) - np.logaddexp(0, typical / t)
        return float(np.log1p(np.tanh(gap / (2 * t)) * tilt * CERTAIN).sum() + one_more)

    return float(max(TEMPERATURES, key=likelihood))


def fit_slope(utility: Sequence[Floats], judged: Sequence[Judged]) -> float:
    """Slope of log CTR on utility within products, weighted by clicks; at least `LEAST_SLOPE`."""
    above = below = 0.0
    for u, j in zip(utility, judged, strict=True):
        weight = j.clicks.counts[0] + 0.5
        u, y = (x - np.average(x, weights=weight) for x in (u, j.clicks.log_ctr))
        above, below = above + (weight * u * y).sum(), below + (weight * u * u).sum()
    return max(LEAST_SLOPE, float(above / below)) if below else LEAST_SLOPE


def fit_offset(
    utility: Sequence[Floats], judged: Sequence[Judged], log_rates: Sequence[float], slope: float
) -> tuple[float, float]:
    """(mean, standard deviation without click noise) of log CTR - log base rate - slope * utility."""
    rest = np.concatenate(
        [j.clicks.log_ctr - rate - slope * u for u, j, rate in zip(utility, judged, log_rates, strict=True)]
    )
    noise = np.concatenate([1 / (j.clicks.counts[0] + 0.5) for j in judged])
    return float(rest.mean()), math.sqrt(max(LEAST_SPREAD**2, float(rest.var() - noise.mean())))


def base_rates(products: Sequence[ProductClicks]) -> tuple[dict[str, float], float]:
    """Clicks / impressions by category, where there are clicks, and of all."""
    totals: dict[str, Floats] = {}
    for product in products:
        key = category_key(product.product.category)
        totals[key] = totals.get(key, np.zeros(2)) + np.array([x.sum() for x in product.counts])
    clicks, impressions = sum(totals.values(), np.zeros(2))
    if not clicks:
        raise CatalogError("click log", expected="clicks", got="none on training products", next_step="Collect some.")
    rates = {key: float(c / n) for key, (c, n) in sorted(totals.items()) if key and c > 0}
    return rates, float(clicks / impressions)


def check_parity(trained: RewardModel, exported: RewardModel, products: Sequence[ProductClicks]) -> dict[str, float]:
    """Largest difference of utility between fp32 and fp16 weights, in logits; CheckpointError when it matters."""
    pairs = zip(judge(trained, products[:16]), judge(exported, products[:16]), strict=True)
    largest = max(float(np.abs(a.utility - b.utility).max()) for a, b in pairs)
    if largest > FP16_TOLERANCE:
        raise CheckpointError(
            "fp16 export",
            expected=f"utilities within {FP16_TOLERANCE} of the trained ones",
            got=f"a difference of {largest:.3g}",
            next_step="Lower --lr.",
        )
    return {"largest_utility_difference": largest, "tolerance": FP16_TOLERANCE}


def measure(judged: Sequence[Judged], truth: Mapping[str, float] | None) -> list[Estimate]:
    """Metrics of comparable products with 95 % intervals clustered by product; against the true CTRs too where they are
    known. None without a product, and none that these labels leave undefined."""
    if not judged:
        return []
    pairs = [(j, *np.triu_indices(len(j.scores), 1)) for j in judged]
    owner = [j.clicks.product.id for j, a, _ in pairs for _ in a]
    gap = np.concatenate([j.utility[a] - j.utility[b] for j, a, b in pairs])
    label = np.concatenate([j.clicks.better[a, b] for j, a, b in pairs])
    observed = np.concatenate([j.clicks.observed[a, b] for j, a, b in pairs])
    doubt = np.concatenate([j.doubt(a, b) for j, a, b in pairs])
    right, most = agreement(gap, observed), agreement_if_known(label, observed)
    chance = 1 / (1 + np.exp(-gap))
    metrics = [
        mean("pair accuracy", right, owner),
        mean("noise ceiling", most, owner),
        bootstrap("way from chance to the ceiling", way, owner, right, most),
        bootstrap("calibration error against soft labels", calibration_error, owner, chance, label),
        *calibration_gaps("calibration against soft labels", chance, label, owner),
        *(bootstrap(f"error rate of {whom}", risk_at(share), owner, doubt, right) for whom, share in SUREST.items()),
    ]
    metrics = [estimate for estimate in metrics if not math.isnan(estimate.value)]
    return metrics if truth is None else metrics + measure_truth(judged, truth, owner, gap, observed)


def risk_at(coverage: float) -> Callable[[Floats, Floats], float]:
    """Error rate among that share of the pairs that are least in doubt, of (doubt, right) f64[P] each."""
    return lambda doubt, right: float(risk_coverage(doubt, right, [coverage])[0])


def measure_truth(
    judged: Sequence[Judged], truth: Mapping[str, float], owner: Sequence[str], gap: Floats, observed: Floats
) -> list[Estimate]:
    """Metrics against true CTRs."""
    true = [np.array([truth[c.creative_id] for c in j.clicks.creatives]) for j in judged]
    both = list(zip(judged, true, strict=True))
    order = np.concatenate([0.5 + 0.5 * np.sign(t[a] - t[b]) for t in true for a, b in [np.triu_indices(len(t), 1)]])
    chance = 1 / (1 + np.exp(-gap))
    inside = [s.low <= ctr <= s.high for j, t in both for s, ctr in zip(j.scores, t, strict=True)]
    shown = [j.clicks.product.id for j in judged for _ in j.scores]
    products = [j.clicks.product.id for j in judged]
    tau = [kendall_tau(j.utility, t) for j, t in both]
    return [
        mean("accuracy against the true order", agreement(gap, order), owner),
        mean("true order against the observed one", agreement(order - 0.5, observed), owner),
        bootstrap("calibration error against the true order", calibration_error, owner, chance, order),
        *calibration_gaps("calibration against the true order", chance, order, owner),
        mean("Kendall tau per product, true CTR", tau, products),
        mean("NDCG per product, true CTR", [ndcg(j.utility, t / t.max()) for j, t in both], products),
        mean("share of true CTRs in their 95 % interval", inside, shown),
    ]


def read_truth(path: Path | None, samples: Samples) -> dict[str, float] | None:
    """True CTRs by creative id, above 0 to 1; CatalogError unless there is one of every picture that is judged."""
    if path is None:
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = {row["creative_id"]: float(row["ctr"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        expected, got = "a table with columns creative_id and ctr, a number", f"{type(error).__name__}: {error}"
        raise CatalogError(str(path), expected=expected, got=got, next_step="Write it again.") from error
    wanted = [c.creative_id for product in samples.compared for c in product.creatives]
    if wrong := [name for name in wanted if not 0 < found.get(name, 0) <= 1]:
        got = f"{len(wrong)} without, the first of them '{wrong[0]}'"
        hint = "Name the truth that belongs to the log, or leave out --truth."
        raise CatalogError(str(path), expected="a CTR above 0 of every test picture", got=got, next_step=hint)
    return found


def describe(samples: Samples) -> dict[str, Any]:
    """How many products, pictures and pairs each split holds, a hash of their clicks wherever they lie, and how many
    rows were left out."""
    parts = {"train": samples.train, "validation": samples.validation, "test": samples.test}
    return {
        **{
            name: {
                "products": len(products),
                "pictures": sum(len(p.creatives) for p in products),
                "pairs": sum(len(p.creatives) * (len(p.creatives) - 1) // 2 for p in products),
            }
            for name, products in parts.items()
        },
        "clicks": record_hash([replace(c, image="") for part in parts.values() for p in part for c in p.creatives]),
        "rejected": sum(rejection.count for rejection in samples.rejected),
    }
