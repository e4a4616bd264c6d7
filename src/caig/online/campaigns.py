"""Campaigns: which arms a product has, their shares by version, and what the ledger says of them.

`refresh` closes the loop: counts from the ledger -> posterior -> shares -> the next version, which `decide` draws from.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, Engine, Select, case, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from caig.data.clicks import CreativeClicks
from caig.data.comparisons import compare
from caig.errors import InputError
from caig.online.allocation import Floats, Rules, draw, posterior, probabilities, skill
from caig.online.decisions import Tally
from caig.online.schema import allocations, arms, campaigns, creatives, impressions, models
from caig.online.tokens import Decision
from caig.types import ClickCounts

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
METRICS = ("click", "conversion", "value")
RIVALS = 5  # times that another may make the next version first


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A running experiment on one product's creatives; windows in milliseconds.

    `click_window`: after a decision, how long its impression and click count. `order_window`: how long a conversion
    does. `highest_value`: no conversion is worth more; bounds what one can do to an estimate.
    """

    id: str
    product_id: str
    rules: Rules
    highest_value: float = 1000.0
    click_window: int = 30 * MINUTE
    order_window: int = 7 * DAY
    running: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Allocation:
    """One version of a campaign's shares: `arms` creative ids, the control first, `shares` f64[K] that sum to 1."""

    campaign: Campaign
    version: int
    arms: tuple[str, ...]
    shares: Floats
    strength: float
    at: int

    def decide(self, now: int, position: int | None = None, group: str | None = None) -> Decision:
        """Draw a creative for a new impression, at `now` (ms); anyone can draw it again from the impression's id."""
        campaign, impression_id = self.campaign, uuid.uuid4().hex
        arm = draw(self.shares, campaign.id, impression_id)
        return Decision(
            impression_id=impression_id,
            campaign_id=campaign.id,
            product_id=campaign.product_id,
            creative_id=self.arms[arm],
            policy=campaign.rules.policy,
            version=self.version,
            propensity=float(self.shares[arm]),
            position=position,
            group=group,
            decided_at=now,
            click_until=now + campaign.click_window,
            order_until=now + campaign.order_window,
        )

    def as_policy(self) -> dict[str, Any]:
        """The shares for a user's own ad server, as `caig export policy` writes them."""
        return {
            "campaign": self.campaign.id,
            "product": self.campaign.product_id,
            "version": self.version,
            "at": self.at,
            "policy": self.campaign.rules.policy,
            "control": self.arms[0],
            "probabilities": dict(zip(self.arms, self.shares.tolist(), strict=True)),
        }


def start(engine: Engine, campaign: Campaign, arm_ids: Sequence[str], now: int) -> Allocation:
    """Store a campaign on creatives of its product, the control first, and its first version of shares.

    InputError when there are more arms than its floors allow, or fewer than two.
    """
    if len(arm_ids) < 2 or len(set(arm_ids)) < len(arm_ids):
        hint = "Make creatives first."
        raise InputError("arms", expected="the original and others, each once", got=str(len(arm_ids)), next_step=hint)
    campaign.rules.least(len(arm_ids))
    with engine.begin() as connection:
        connection.execute(insert(campaigns), [{**asdict(campaign), "created_at": now}])
        connection.execute(insert(arms), [_arm(campaign.id, k, arm) for k, arm in enumerate(arm_ids)])
    return refresh(engine, campaign, now)


def add_arms(engine: Engine, campaign: Campaign, creative_ids: Sequence[str], now: int) -> Allocation:
    """Launch more creatives in a campaign; those that run stay as they are.

    InputError for one that was retired, or when there are more than its floors allow.
    """
    known = dict(arm_rows(engine, campaign.id))
    if gone := next((id for id in creative_ids if known.get(id)), None):
        hint = "What was retired stays so: repaint it with another seed, and launch that."
        raise InputError("arm", expected="one that was not retired", got=f"'{gone}'", next_step=hint)
    fresh = [id for id in dict.fromkeys(creative_ids) if id not in known]
    campaign.rules.least(sum(not retired for retired in known.values()) + len(fresh))
    with engine.begin() as connection:
        rows = [_arm(campaign.id, k, arm) for k, arm in enumerate(fresh, len(known))]
        if rows:
            connection.execute(insert(arms), rows)
    return refresh(engine, campaign, now)


def retire(engine: Engine, campaign: Campaign, creative_ids: Sequence[str], now: int) -> Allocation:
    """Show these arms no more; InputError for the control, an unknown arm, or when no other arm would stay."""
    live = [arm for arm, retired in arm_rows(engine, campaign.id) if not retired]
    unfit = [id for id in creative_ids if id not in live[1:]]
    if unfit or len(set(creative_ids)) > len(live) - 2:
        got, hint = ", ".join(unfit or creative_ids), "The original and one more arm stay."
        raise InputError("arm", expected="one that can go", got=f"'{got}'", next_step=hint)
    where = (arms.c.campaign_id == campaign.id) & arms.c.creative_id.in_(creative_ids)
    with engine.begin() as connection:
        connection.execute(update(arms).where(where).values(retired=True))
    return refresh(engine, campaign, now)


def stop(engine: Engine, campaign: Campaign) -> None:
    """End a campaign; its arms and shares stay on record."""
    with engine.begin() as connection:
        connection.execute(update(campaigns).where(campaigns.c.id == campaign.id).values(running=False))


def history(engine: Engine, campaign_id: str, since: int = 0, most: int = 1000) -> list[dict[str, Any]]:
    """The first `most` versions after version `since`: version, at, shares, strength."""
    a = allocations.c
    query = select(a.version, a.at, a.shares, a.strength).where(a.campaign_id == campaign_id, a.version > since)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query.order_by(a.version).limit(most)).mappings()]


def _arm(campaign_id: str, number: int, creative_id: str) -> dict[str, Any]:
    return {"campaign_id": campaign_id, "number": number, "creative_id": creative_id, "retired": False}


def read_campaigns(engine: Engine) -> list[Campaign]:
    """Every campaign, oldest first."""
    query = select(campaigns).order_by(campaigns.c.created_at, campaigns.c.id)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return [_campaign(row) for row in rows]


def _campaign(row: dict[str, Any]) -> Campaign:
    values = {name: row[name] for name in Campaign.__dataclass_fields__}
    return Campaign(**{**values, "rules": Rules(**row["rules"])})


def arm_rows(engine: Engine, campaign_id: str) -> list[tuple[str, bool]]:
    """(creative id, retired) of each arm ever launched, the control first."""
    query = select(arms.c.creative_id, arms.c.retired).where(arms.c.campaign_id == campaign_id).order_by(arms.c.number)
    with engine.connect() as connection:
        return [(row.creative_id, row.retired) for row in connection.execute(query)]


def latest(engine: Engine, campaign: Campaign) -> Allocation | None:
    """The newest version, None before the first."""
    query = select(allocations).where(allocations.c.campaign_id == campaign.id)
    with engine.connect() as connection:
        row = connection.execute(query.order_by(allocations.c.version.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    order = [arm for arm, _ in arm_rows(engine, campaign.id) if arm in row["shares"]]
    shares = np.array([row["shares"][arm] for arm in order])
    return Allocation(
        campaign=campaign,
        version=row["version"],
        arms=tuple(order),
        shares=shares,
        strength=row["strength"],
        at=row["at"],
    )


def refresh(engine: Engine, campaign: Campaign, now: int, trust: float | None = None) -> Allocation:
    """Make the next version from the newest clicks; the same shares of the same arms stay the same version.

    `trust` is `reward_skill(engine)`, for those who know it already: it takes a look at the whole ledger. Safe while
    others do the same.
    """
    for _ in range(RIVALS):
        try:
            return _next(engine, campaign, now, trust)
        except IntegrityError:  # another made this version meanwhile, maybe of other arms: look again
            continue
    return _next(engine, campaign, now, trust)


def _next(engine: Engine, campaign: Campaign, now: int, trust: float | None) -> Allocation:
    before = latest(engine, campaign)
    live = [arm for arm, retired in arm_rows(engine, campaign.id) if not retired]
    clicks, shown, predicted = _counts(engine, campaign, live)
    strength = campaign.rules.prior * (reward_skill(engine) if trust is None else trust)
    a, b = posterior(clicks, shown, predicted, strength)
    shares = probabilities(campaign.rules, a, b)
    if before is not None and before.arms == tuple(live) and np.allclose(before.shares, shares, rtol=0, atol=1e-4):
        return before
    version = 1 if before is None else before.version + 1
    row = {"campaign_id": campaign.id, "version": version, "policy": campaign.rules.policy, "at": now}
    row |= {"strength": strength, "shares": dict(zip(live, shares.tolist(), strict=True))}
    row |= {"posterior": {arm: [float(x), float(y)] for arm, x, y in zip(live, a, b, strict=True)}}
    with engine.begin() as connection:
        connection.execute(insert(allocations), [row])
    arms_now = tuple(live)
    return Allocation(campaign=campaign, version=version, arms=arms_now, shares=shares, strength=strength, at=now)


def _counts(engine: Engine, campaign: Campaign, live: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """(clicks, impressions, predicted CTR) of the arms, f64[K] each."""
    query = _sums(impressions.c.creative_id).where(impressions.c.campaign_id == campaign.id)
    predicted = select(creatives.c.id, creatives.c.ctr).where(creatives.c.id.in_(live))
    with engine.connect() as connection:
        found = {row[0]: row for row in connection.execute(query)}
        ctr = {row.id: row.ctr for row in connection.execute(predicted)}
    counted = np.array([[found[arm].click, found[arm].shown] if arm in found else [0, 0] for arm in live], np.float64)
    return counted[:, 0], counted[:, 1], np.array([ctr[arm] for arm in live])


def reward_skill(engine: Engine) -> float:
    """What the reward model in use has earned on clicks it was not trained on, 0 to 1, see `allocation.skill`."""
    use = select(models.c.learned_until).where(models.c.role == "reward", models.c.in_use)
    i = impressions.c
    with engine.connect() as connection:
        since = connection.execute(use).scalar() or 0
        query = _sums(i.product_id, i.creative_id).where(i.at > since)
        rows = connection.execute(query).all()
        ctr = {row.id: row.ctr for row in connection.execute(select(creatives.c.id, creatives.c.ctr))}
    counts = [ClickCounts(clicks=row.click, impressions=row.shown) for row in rows]
    named = [(row.product_id, row.creative_id, c) for row, c in zip(rows, counts, strict=True)]
    found = [CreativeClicks(product_id=p, creative_id=id, image="", counts=c, effective=c) for p, id, c in named]
    if len({p for p, _, _ in named}) == len(named) or not any(c.clicks for c in counts):
        return 0.0  # nothing to compare
    pairs = compare(found)
    predicted = np.array([ctr[creative.creative_id] for creative in found])
    products = [found[k].product_id for k in pairs.first]
    return skill(predicted[pairs.first] - predicted[pairs.second], pairs.label, products)


def tally(engine: Engine, campaign: Campaign, now: int) -> Tally:
    """Counts by version and arm of the impressions whose time for clicks is over, for `caig.online.decisions`."""
    order = [arm for arm, _ in arm_rows(engine, campaign.id)]
    i, settled = impressions.c, now - campaign.click_window
    query = _sums(i.version, i.creative_id).where(i.campaign_id == campaign.id, i.at <= settled)
    of_version = select(allocations.c.version, allocations.c.shares).where(allocations.c.campaign_id == campaign.id)
    with engine.connect() as connection:
        shares = {row.version: row.shares for row in connection.execute(of_version.order_by(allocations.c.version))}
        rows = connection.execute(query).all()
    index, column = {version: k for k, version in enumerate(shares)}, {arm: k for k, arm in enumerate(order)}
    table = {name: np.zeros((len(shares), len(order))) for name in ("shown", *METRICS, "value squared")}
    for row in rows:
        cell = index[row.version], column[row.creative_id]
        for name, number in zip(table, row[2:], strict=True):
            table[name][cell] = number
    total = {name: table[name] for name in METRICS}
    return Tally(
        arms=tuple(order),
        shares=np.array([[of.get(arm, 0.0) for arm in order] for of in shares.values()]),
        shown=table["shown"],
        total=total,
        squares={**total, "value": table["value squared"]},
        least=np.array([campaign.rules.control] + [campaign.rules.floor] * (len(order) - 1)),
        highest={"click": 1.0, "conversion": 1.0, "value": campaign.highest_value},
    )


def timeline(engine: Engine, campaign_id: str, steps: int) -> tuple[int, int, dict[str, tuple[list[int], list[int]]]]:
    """(start, step, arm -> impressions and clicks of each step), bots left out: `steps` equal parts of the time from
    the campaign's first impression to its newest, `step` >= 1 ms; no arm before the first."""
    i = impressions.c
    span = select(func.min(i.at), func.max(i.at)).where(i.campaign_id == campaign_id, i.bot.is_(False))
    with engine.connect() as connection:
        first, last = connection.execute(span).one()
        if first is None:
            return 0, 1, {}
        step = (last - first) // steps + 1
        start, width = (literal(number, BigInteger, literal_execute=True) for number in (first, step))
        query = _sums(i.creative_id, (i.at - start) // width)
        query = query.where(i.campaign_id == campaign_id, i.at.between(first, last))  # others may have come since
        rows = connection.execute(query).all()
    counts: dict[str, tuple[list[int], list[int]]] = {row[0]: ([0] * steps, [0] * steps) for row in rows}
    for row in rows:
        counts[row[0]][0][row[1]], counts[row[0]][1][row[1]] = row.shown, row.click
    return first, step, counts


def _sums(*by: Any) -> Select[Any]:
    """Impressions that are no bot's, their clicks, conversions, value and squared value, grouped by `by`."""
    i = impressions.c
    had = [func.sum(case((moment.is_not(None), 1), else_=0)) for moment in (i.clicked_at, i.converted_at)]
    columns = [func.count().label("shown"), had[0].label("click"), had[1].label("conversion")]
    columns += [func.sum(i.value).label("value"), func.sum(i.value * i.value).label("value_squared")]
    return select(*by, *columns).where(i.bot.is_(False)).group_by(*by)
