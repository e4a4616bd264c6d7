"""What requests and answers look like (OpenAPI is made from these)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from caig.data.themes import check_theme, themes
from caig.online.allocation import Policy
from caig.online.ledger import Status
from caig.types import Estimate

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
PathId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
CLEAN = r"[^\x00-\x1f\x7f]*"  # no control characters
Text = Annotated[str, Field(max_length=500, pattern=f"^{CLEAN}$")]
Title = Annotated[str, Field(min_length=1, max_length=500, pattern=rf"^{CLEAN}[^\x00-\x20\x7f]{CLEAN}$")]
Side = Annotated[int, Field(ge=64, le=2048)]


def _known(theme: str) -> str:
    check_theme(theme)
    return theme


Theme = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(themes())})]
Share = Annotated[float, Field(gt=0, lt=1)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200)]


class Body(BaseModel):
    """A request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ProductOut(BaseModel):
    id: str
    title: str
    category: str
    created_at: int


class ProductPage(BaseModel):
    items: list[ProductOut]
    next: str | None


class FormatOut(BaseModel):
    name: str
    width: int
    height: int


class ChoicesOut(BaseModel):
    """What jobs may name: looks of campaigns, and the usual formats."""

    themes: list[str]
    formats: list[FormatOut]


class JobIn(Body):
    """Make `n` ads of a product, `width` x `height` pixels, in the look of `theme`; the same seed gives the same
    ads."""

    n: Annotated[int, Field(ge=1, le=32)] = 4
    width: Side = 1024
    height: Side = 1024
    theme: Theme | None = None
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0


class RepaintIn(Body):
    """Paint a creative again with another description."""

    description: Title
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0


class JobOut(BaseModel):
    """`done` of `total` pictures are painted; `message` says what is being done, or why the job failed."""

    id: str
    product_id: str
    status: Literal["queued", "running", "done", "failed"]
    done: int
    total: int
    message: str
    created_at: int
    updated_at: int


class JobPage(BaseModel):
    items: list[JobOut]
    next: str | None


class ReasonOut(BaseModel):
    """A quality of a picture, its value, the other ads' mean, and by how many logits it lifts or lowers the picture."""

    words: str
    value: float
    others: float
    unit: str
    effect: float


class CreativeOut(BaseModel):
    """One ad; `ctr` is predicted, with its interval, and `basis` says from what; `reasons`, strongest first, hold it
    against the product's other ads of its size; `broken` are promises not kept. An `original` is the photo itself."""

    id: str
    product_id: str
    kind: Literal["original", "generated", "edited"]
    description: str
    parent: str | None
    width: int
    height: int
    seed: int
    utility: float
    ctr: float
    low: float
    high: float
    basis: str
    models: dict[str, Any]
    reasons: list[ReasonOut]
    broken: list[str]
    locked: bool
    created_at: int


class CreativeList(BaseModel):
    items: list[CreativeOut]


class LockIn(Body):
    locked: bool


class CampaignIn(Body):
    """Share out impressions among a product's creatives. Without `creatives` all of the product's; the original photo
    of their size is always in, as the control. Windows in seconds."""

    product_id: Id
    creatives: Annotated[list[Id], Field(max_length=90)] | None = None
    policy: Policy = "thompson"
    floor: Share = 0.01
    control: Share = 0.1
    prior: Annotated[float, Field(ge=0, le=1e6)] = 1000
    highest_value: Annotated[float, Field(gt=0, le=1e9)] = 1000
    click_window: Annotated[int, Field(ge=1, le=7 * 86400)] = 1800
    order_window: Annotated[int, Field(ge=1, le=90 * 86400)] = 7 * 86400


class PolicyOut(BaseModel):
    """The shares in force, for a user's own ad server: log `probabilities` as propensities."""

    campaign: str
    product: str
    version: int
    at: int
    policy: str
    control: str
    probabilities: dict[str, float]


class CampaignList(BaseModel):
    items: list[PolicyOut]


class AllocationOut(BaseModel):
    version: int
    at: int
    shares: dict[str, float]
    strength: float


class AllocationList(BaseModel):
    items: list[AllocationOut]


class CountsOut(BaseModel):
    """Impressions and clicks of one arm, a number for each step."""

    shown: list[int]
    clicks: list[int]


class TimelineOut(BaseModel):
    """What came in by arm and time, suspected bots left out: equal steps of `step` ms from `start` on. Impressions
    count where they were first seen, and their clicks there too."""

    start: int
    step: int
    arms: dict[str, CountsOut]


class ArmsIn(Body):
    creatives: Annotated[list[Id], Field(min_length=1, max_length=90)]


class PromoteIn(Body):
    creative_id: Id


class DecideIn(Body):
    """`position` from 1 and `group` are logged, so that later estimates can allow for them."""

    position: Annotated[int, Field(ge=1, le=10_000)] | None = None
    group: Text | None = None


class DecisionOut(BaseModel):
    impression_id: str
    creative_id: str
    image: str
    propensity: float
    version: int
    token: str
    click_until: int
    order_until: int


class EventIn(Body):
    """`user_agent` and `visitor` (any opaque text) are the shopper's; they are looked at for robots and not stored."""

    token: Annotated[str, Field(max_length=2000)]
    user_agent: Annotated[str, Field(max_length=1000)] | None = None
    visitor: Annotated[str, Field(max_length=200)] | None = None


class ConversionIn(EventIn):
    value: Annotated[float, Field(ge=0, le=1e9)] = 0


class StatusOut(BaseModel):
    status: Status


class ArmOut(BaseModel):
    creative_id: str
    shown: int
    share: float
    ctr: Estimate
    lead: Estimate | None
    guards: list[Estimate]
    promote: bool
    reason: str


class StatsOut(BaseModel):
    """`ctr`, `lead` and `guards` hold at whatever time one looks (confidence sequences); `fits`: arms were shown as
    often as drawn."""

    campaign: str
    product: str
    running: bool
    version: int
    fits: bool
    strength: float
    events: dict[str, dict[str, int]]
    arms: list[ArmOut]


class HealthOut(BaseModel):
    status: Literal["ok"]
    painter: bool
