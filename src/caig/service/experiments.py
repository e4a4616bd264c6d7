"""Campaigns: start, stop, launch and retire arms, promote one, and see what the clicks prove."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException

from caig.online import campaigns
from caig.online.allocation import Rules
from caig.online.campaigns import Allocation, Campaign
from caig.online.decisions import Verdict, rate, verdicts
from caig.service import store
from caig.service.bodies import (
    AllocationList,
    AllocationOut,
    ArmOut,
    ArmsIn,
    CampaignIn,
    CampaignList,
    CountsOut,
    PathId,
    PolicyOut,
    PromoteIn,
    StatsOut,
    TimelineOut,
)
from caig.service.problems import RESPONSES
from caig.service.state import Here, State, admin, missing

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"], dependencies=[Depends(admin)], responses=RESPONSES)


@router.post("", status_code=201)
async def start(body: CampaignIn, state: Here) -> PolicyOut:
    """Start a campaign on creatives of one size."""
    return await asyncio.to_thread(_start, state, body)


def _start(state: State, body: CampaignIn) -> PolicyOut:
    rules = Rules(policy=body.policy, floor=body.floor, control=body.control, prior=body.prior)
    campaign = Campaign(
        id=uuid.uuid4().hex[:12],
        product_id=body.product_id,
        rules=rules,
        highest_value=body.highest_value,
        click_window=body.click_window * 1000,
        order_window=body.order_window * 1000,
    )
    arms = _arms(state, body.product_id, body.creatives)
    allocation = campaigns.start(state.engine, campaign, arms, store.now())
    state.known[campaign.id], state.live[campaign.id] = campaign, allocation
    return PolicyOut(**allocation.as_policy())


def _arms(state: State, product_id: str, wanted: list[str] | None) -> list[str]:
    """The arms' ids, the original of their size first. HTTPException 404 or 422 where they don't fit together."""
    rows = {row["id"]: row for row in store.ranked(state.engine, product_id)}
    ads = [id for id, row in rows.items() if row["kind"] != "original"] if wanted is None else list(wanted)
    for id in ads:
        if id not in rows:
            missing("creative of this product", id)
    sizes = {(rows[id]["width"], rows[id]["height"]) for id in ads}
    if len(sizes) != 1:
        raise HTTPException(422, f"creatives: expected ads of one size, got {len(sizes)} sizes. Name those to show.")
    originals = [id for id, r in rows.items() if r["kind"] == "original" and (r["width"], r["height"]) in sizes]
    return [*originals[:1], *(id for id in dict.fromkeys(ads) if id not in originals)]


@router.get("")
async def list_campaigns(state: Here, stopped: bool = False) -> CampaignList:
    """The running campaigns and their shares; with `stopped` those that were stopped, and their last shares."""
    found = await asyncio.to_thread(_stopped, state) if stopped else list(state.live.values())
    return CampaignList(items=[PolicyOut(**allocation.as_policy()) for allocation in found])


def _stopped(state: State) -> list[Allocation]:
    gone = [campaign for id, campaign in list(state.known.items()) if id not in state.live]
    return [last for campaign in gone if (last := campaigns.latest(state.engine, campaign)) is not None]


@router.get("/{campaign_id}/policy")
async def show_policy(campaign_id: PathId, state: Here) -> PolicyOut:
    """The shares in force."""
    return PolicyOut(**state.allocation(campaign_id).as_policy())


@router.delete("/{campaign_id}", status_code=204)
async def stop(campaign_id: PathId, state: Here) -> None:
    """Show no more; clicks and orders still count until their time is over."""
    campaign = state.allocation(campaign_id).campaign
    del state.live[campaign_id]
    await asyncio.to_thread(campaigns.stop, state.engine, campaign)


@router.post("/{campaign_id}/arms")
async def launch(campaign_id: PathId, body: ArmsIn, state: Here) -> PolicyOut:
    """Launch further creatives; they start with the shares of arms that nothing is known of."""
    campaign = state.allocation(campaign_id).campaign
    await asyncio.to_thread(_check_further, state, campaign, body.creatives)
    fresh = await asyncio.to_thread(campaigns.add_arms, state.engine, campaign, body.creatives, store.now())
    state.show(fresh)
    return PolicyOut(**fresh.as_policy())


def _check_further(state: State, campaign: Campaign, wanted: list[str]) -> None:
    """HTTPException 404 or 422 unless `wanted` are ads of the campaign's product, as large as its control."""
    rows = {row["id"]: row for row in store.ranked(state.engine, campaign.product_id)}
    control = rows[campaigns.arm_rows(state.engine, campaign.id)[0][0]]
    size = f"{control['width']}x{control['height']}"
    for id in wanted:
        row = rows.get(id) or missing("creative of this product", id)
        if (got := f"{row['width']}x{row['height']}") != size:
            raise HTTPException(422, f"creatives: expected ads of {size}, the campaign's size, got '{id}' of {got}.")


@router.delete("/{campaign_id}/arms/{creative_id}")
async def retire(campaign_id: PathId, creative_id: PathId, state: Here) -> PolicyOut:
    """Show a creative no more; what is known of it stays."""
    campaign = state.allocation(campaign_id).campaign
    fresh = await asyncio.to_thread(campaigns.retire, state.engine, campaign, [creative_id], store.now())
    state.show(fresh)
    return PolicyOut(**fresh.as_policy())


@router.post("/{campaign_id}/promote")
async def promote(campaign_id: PathId, body: PromoteIn, state: Here) -> PolicyOut:
    """Retire all arms but this one and the control. 409 unless it is credibly clicked more than the control, no guard
    metric is credibly worse and arms were shown as drawn."""
    campaign = state.allocation(campaign_id).campaign
    stats = await asyncio.to_thread(_stats, state, campaign)
    arm = next((arm for arm in stats.arms if arm.creative_id == body.creative_id), None)
    if arm is None:
        missing("arm", body.creative_id)
    if not arm.promote:
        raise HTTPException(409, f"arm: expected one that may be promoted, got '{arm.creative_id}': {arm.reason}.")
    others = [id for id in state.live[campaign_id].arms[1:] if id != body.creative_id]
    fresh = await asyncio.to_thread(campaigns.retire, state.engine, campaign, others, store.now())
    state.show(fresh)
    return PolicyOut(**fresh.as_policy())


@router.get("/{campaign_id}/stats")
async def stats(campaign_id: PathId, state: Here) -> StatsOut:
    """What the impressions whose time for clicks is over prove of each arm, and all that came in."""
    campaign = state.known.get(campaign_id) or missing("campaign", campaign_id)
    return await asyncio.to_thread(_stats, state, campaign)


def _stats(state: State, campaign: Campaign) -> StatsOut:
    tally = campaigns.tally(state.engine, campaign, store.now())
    check, found = verdicts(tally)
    newest = campaigns.latest(state.engine, campaign)
    assert newest is not None
    shares = dict(zip(newest.arms, newest.shares.tolist(), strict=True))
    control = ArmOut(
        creative_id=tally.arms[0],
        shown=check.shown[0],
        share=shares[tally.arms[0]],
        ctr=rate(tally, "click", 0),
        lead=None,
        guards=[],
        promote=False,
        reason="the original photo: the others are held against it",
    )
    arms = [_arm(v, shown, shares) for v, shown in zip(found, check.shown[1:], strict=True)]
    counts = {kind: dict(of) for kind, of in state.ledger.counts(campaign.id).items()}
    return StatsOut(
        campaign=campaign.id,
        product=campaign.product_id,
        running=campaign.id in state.live,
        version=newest.version,
        fits=check.fits,
        strength=newest.strength,
        events=counts,
        arms=[control, *arms],
    )


def _arm(verdict: Verdict, shown: int, shares: dict[str, float]) -> ArmOut:
    facts = {name: getattr(verdict, name) for name in ("ctr", "lead", "promote", "reason")}
    share = shares.get(verdict.arm, 0.0)
    return ArmOut(creative_id=verdict.arm, shown=shown, share=share, guards=list(verdict.guards), **facts)


@router.get("/{campaign_id}/allocations")
async def allocations(campaign_id: PathId, state: Here, since: int = 0) -> AllocationList:
    """Shares over time: at most 1,000 versions after version `since`."""
    if campaign_id not in state.known:
        missing("campaign", campaign_id)
    since = max(0, min(since, 2**31 - 1))
    rows = await asyncio.to_thread(campaigns.history, state.engine, campaign_id, since)
    return AllocationList(items=[AllocationOut(**row) for row in rows])


@router.get("/{campaign_id}/timeline")
async def timeline(campaign_id: PathId, state: Here, steps: Annotated[int, Query(ge=1, le=500)] = 60) -> TimelineOut:
    """What was shown and clicked, over time: everything that came in, also what is too fresh for `stats`."""
    if campaign_id not in state.known:
        missing("campaign", campaign_id)
    start, step, counts = await asyncio.to_thread(campaigns.timeline, state.engine, campaign_id, steps)
    arms = {id: CountsOut(shown=shown, clicks=clicks) for id, (shown, clicks) in counts.items()}
    return TimelineOut(start=start, step=step, arms=arms)
