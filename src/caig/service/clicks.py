"""The four calls of the loop: decide, impression, click, conversion. All but the first wait for the disk."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException

from caig.online import tokens
from caig.online.ledger import Event, Kind
from caig.online.tokens import Decision, TokenError
from caig.service import store
from caig.service.bodies import ConversionIn, DecideIn, DecisionOut, EventIn, PathId, StatusOut
from caig.service.problems import RESPONSES
from caig.service.state import Here, State, missing, reporter

router = APIRouter(
    prefix="/v1/campaigns/{campaign_id}", tags=["loop"], dependencies=[Depends(reporter)], responses=RESPONSES
)


@router.post("/decide")
async def decide(campaign_id: PathId, body: DecideIn, state: Here) -> DecisionOut:
    """Which creative to show now. Nothing is stored yet: the token brings the decision back."""
    decision = state.allocation(campaign_id).decide(store.now(), body.position, body.group)
    state.decisions.inc()
    return DecisionOut(
        impression_id=decision.impression_id,
        creative_id=decision.creative_id,
        image=f"/v1/creatives/{decision.creative_id}/image",
        propensity=decision.propensity,
        version=decision.version,
        token=tokens.sign(state.token_key, decision),
        click_until=decision.click_until,
        order_until=decision.order_until,
    )


@router.post("/impression")
async def impression(campaign_id: PathId, body: EventIn, state: Here) -> StatusOut:
    """The ad was seen. Once answered it is on disk; sending it again changes nothing."""
    return await _report(state, campaign_id, "impression", body)


@router.post("/click")
async def click(campaign_id: PathId, body: EventIn, state: Here) -> StatusOut:
    """The ad was clicked. Once answered it is on disk; sending it again changes nothing."""
    return await _report(state, campaign_id, "click", body)


@router.post("/conversion")
async def conversion(campaign_id: PathId, body: ConversionIn, state: Here) -> StatusOut:
    """The shopper bought for `value`. Once answered it is on disk; sending it again changes nothing."""
    most = (state.known.get(campaign_id) or missing("campaign", campaign_id)).highest_value
    if body.value > most:
        raise HTTPException(422, f"value: expected at most {most:g}, the campaign's highest_value, got {body.value:g}.")
    return await _report(state, campaign_id, "conversion", body, body.value)


async def _report(state: State, campaign_id: str, kind: Kind, body: EventIn, value: float = 0.0) -> StatusOut:
    now, decision = store.now(), _decision(state, campaign_id, body.token)
    if decision is None:
        await state.record(Event(kind=kind, at=now, decision=None, campaign_id=campaign_id))
        raise HTTPException(403, "token: expected one that decide gave for this campaign, unchanged.")
    bot = _suspect(state, decision, kind, body, now)
    event = Event(kind=kind, at=now, decision=decision, campaign_id=campaign_id, bot=bot, value=value)
    return StatusOut(status=await state.record(event))


def _decision(state: State, campaign_id: str, token: str) -> Decision | None:
    """What the token carries; None when it is not ours or of another campaign."""
    try:
        decision = tokens.read(state.token_key, token)
    except TokenError:
        return None
    return decision if decision.campaign_id == campaign_id else None


def _suspect(state: State, decision: Decision, kind: Kind, body: EventIn, now: int) -> bool:
    if kind != "click":
        return state.suspicions.robot(body.user_agent)
    return state.suspicions.click(body.user_agent, body.visitor, now - decision.decided_at)
