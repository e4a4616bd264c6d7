"""Shoppers at the doors of a service: they ask what to see, report that they saw it, and click or not."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image, ImageOps

from caig.imaging.reading import read_photo
from caig.online.campaigns import reward_skill
from caig.pipeline import lay_out, read_cutout
from caig.seeding import seed_for
from caig.service import store
from caig.service.bots import FASTEST_CLICK
from caig.service.state import State
from caig.shop.shoppers import GROUPS, Ad, World
from caig.types import Alpha, Product

TOGETHER = 400  # shoppers under way at once
SHARES_FOLLOW = 20  # times a cycle
SLOWER = FASTEST_CLICK / 1000 + 0.02  # seconds from a decision to a click that no bot makes
HEADERS = ((b"host", b"localhost"), (b"content-type", b"application/json"))
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Client:
    """Speaks ASGI to a service's app, as a server does for each request that comes over a socket: guard, keys, routes
    and validation are all passed. An HTTP library between them would cost more than the service itself."""

    def __init__(self, app: FastAPI, key: str) -> None:
        self.app, self.headers = app, [*HEADERS, (b"authorization", f"Bearer {key}".encode())]

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of the answer; RuntimeError for any but 200 and 201."""
        sent, content, status = json.dumps(body).encode(), b"", 0
        scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST"}
        scope |= {"scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
        scope |= {"headers": [*self.headers, (b"content-length", str(len(sent)).encode())], "client": ("127.0.0.1", 1)}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal content, status
            status = message.get("status", status)
            content += message.get("body", b"")

        await self.app(scope, receive, send)
        if status not in (200, 201):
            raise RuntimeError(f"POST {path}: {status} {content.decode()[:300]}")
        return json.loads(content)  # type: ignore[no-any-return]


@dataclass
class Truth:
    """What shoppers of a world think of a service's ads: each is looked at once."""

    world: World
    products: Mapping[str, Product]
    state: State
    known: dict[str, Floats] = field(default_factory=dict)

    def by_group(self, creative_id: str) -> Floats:
        """f64[G]: true CTR in each group of shoppers."""
        if creative_id not in self.known:
            self.known[creative_id] = self.world.group_ctr([self._ad(creative_id)])[0]
        return self.known[creative_id]

    def ctr(self, creative_id: str) -> float:
        """True CTR over all shoppers."""
        return float(self.by_group(creative_id) @ list(GROUPS.values()))

    def _ad(self, creative_id: str) -> Ad:
        from caig.online.schema import creatives

        row = store.get(self.state.engine, creatives, creative_id)
        assert row is not None
        product, size = self.products[row["product_id"]], (row["width"], row["height"])
        mask = original_mask(product, size) if row["kind"] == "original" else product_mask(product, size)
        return Ad.of(creative_id, read_photo(self.state.files.path(row["file"])).image, mask, product)


def product_mask(product: Product, size: tuple[int, int]) -> Alpha:
    """f32[H, W]: where the product stands in its ads of `size` (W, H)."""
    return lay_out(read_cutout(product), size).product


def original_mask(product: Product, size: tuple[int, int]) -> Alpha:
    """f32[H, W]: where the product stands in its fitted original photo, see `caig.service.painter.original_ad`."""
    assert isinstance(product.image, Path)
    photo = read_photo(product.image)
    alpha = np.ones(photo.image.shape[:2], np.float32) if photo.alpha is None else photo.alpha
    whole = Image.fromarray(np.round(255 * alpha).astype(np.uint8))
    return np.asarray(ImageOps.pad(whole, size, color=0), np.float32) / 255


@dataclass(kw_only=True)
class Visits:
    """What became of one cycle's visits: impressions and clicks by campaign and ad, and of every event."""

    shown: dict[str, Counter[str]]
    clicked: dict[str, Counter[str]]
    statuses: Counter[str]


async def open_doors(
    client: Client, state: State, campaigns: Sequence[str], truth: Truth, shoppers: int, seed: int
) -> Visits:
    """`shoppers` visits to each campaign in random order; shares follow the clicks `SHARES_FOLLOW` times.

    Who comes, and how readily each clicks, is drawn from `seed`. What is shown is not: the service names its
    impressions at random, so two runs differ in it.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(np.arange(len(campaigns)), shoppers))
    groups = rng.choice(len(GROUPS), size=len(order), p=list(GROUPS.values()))
    eager = rng.random(len(order))
    visits = Visits(
        shown={id: Counter() for id in campaigns}, clicked={id: Counter() for id in campaigns}, statuses=Counter()
    )
    waiting: list[tuple[str, str, str]] = []
    trust, turn = await asyncio.to_thread(reward_skill, state.engine), -(-len(order) // SHARES_FOLLOW)
    for start in range(0, len(order), TOGETHER):
        batch = slice(start, start + TOGETHER)
        came = [
            (campaigns[c], int(g), float(e)) for c, g, e in zip(order[batch], groups[batch], eager[batch], strict=True)
        ]
        seen = await asyncio.gather(*(_visit(client, truth, visits, *one) for one in came))
        await _click(client, visits, waiting)
        waiting, ready = [one for one in seen if one is not None], time.monotonic() + SLOWER
        if start // turn != (start + TOGETHER) // turn:
            for allocation in list(state.live.values()):
                await state.refresh(allocation.campaign, trust)
        await asyncio.sleep(max(0.0, ready - time.monotonic()))
    await _click(client, visits, waiting)
    return visits


async def _visit(
    client: Client, truth: Truth, visits: Visits, campaign: str, group: int, eager: float
) -> tuple[str, str, str] | None:
    """Decide and see; (campaign, creative, token) of who is going to click."""
    path = f"/v1/campaigns/{campaign}"
    decision = await client.post(f"{path}/decide", {"group": list(GROUPS)[group]})
    answer = await client.post(f"{path}/impression", {"token": decision["token"]})
    visits.statuses[f"impression {answer['status']}"] += 1
    visits.shown[campaign][decision["creative_id"]] += 1
    if eager >= truth.by_group(decision["creative_id"])[group]:
        return None
    return campaign, decision["creative_id"], decision["token"]


async def _click(client: Client, visits: Visits, waiting: Sequence[tuple[str, str, str]]) -> None:
    for campaign, creative, token in waiting:
        answer = await client.post(f"/v1/campaigns/{campaign}/click", {"token": token})
        visits.statuses[f"click {answer['status']}"] += 1
        visits.clicked[campaign][creative] += 1


def seed_of(seed: int, world: int, cycle: int) -> int:
    """The same shoppers come in a cycle of a world, whatever the policy."""
    return seed_for(seed, "shoppers", world, cycle)
