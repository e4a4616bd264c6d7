"""Which models learned from which clicks, and which of them is in use: the ledger's side of `caig learn`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, bindparam, insert, select, update

from caig.online.schema import creatives, models
from caig.types import Score


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A model that came out of the loop: `fingerprint` of its weights, `name` by which it loads, what it went on from
    (`parent`), what it `learned_from`, and the moment (ms) until which clicks may have taught it."""

    role: str
    fingerprint: str
    name: str
    parent: str | None
    learned_from: Mapping[str, Any]
    learned_until: int


def register(engine: Engine, model: Learned, now: int, *, in_use: bool) -> None:
    """Put `model` on record, once; `in_use` puts it in the place of the one that its role had."""
    m, row = models.c, {**vars(model), "learned_from": dict(model.learned_from), "in_use": False, "created_at": now}
    with engine.begin() as connection:
        known = connection.execute(select(m.role).where(m.fingerprint == model.fingerprint)).first()
        if known is None:
            connection.execute(insert(models), [row])
        if in_use:
            connection.execute(update(models).where(m.role == model.role).values(in_use=False))
            connection.execute(update(models).where(m.fingerprint == model.fingerprint).values(in_use=True))


def withdraw(engine: Engine, role: str) -> None:
    """Take the model of `role` out of use: the service's own is in its place again."""
    with engine.begin() as connection:
        connection.execute(update(models).where(models.c.role == role).values(in_use=False))


def name_in_use(engine: Engine, role: str) -> str | None:
    """Name of the model that the loop put in use for `role`; None where it did not."""
    with engine.connect() as connection:
        return connection.execute(select(models.c.name).where(models.c.role == role, models.c.in_use)).scalar()


def judge_anew(engine: Engine, scores: Sequence[Score]) -> None:
    """Replace what the last reward model predicted of these creatives."""
    names = ("utility", "ctr", "low", "high", "basis")
    rows = [{"creative": s.creative_id, **{f"new_{name}": getattr(s, name) for name in names}} for s in scores]
    change = update(creatives).where(creatives.c.id == bindparam("creative"))
    with engine.begin() as connection:
        if rows:
            connection.execute(change.values({name: bindparam(f"new_{name}") for name in names}), rows)
