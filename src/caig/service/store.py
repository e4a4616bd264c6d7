"""Products, creatives and jobs in the database: small questions, each one function."""

from __future__ import annotations

import base64
import binascii
import time
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Table, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from caig.errors import InputError
from caig.online.schema import creatives, jobs, products

Row = dict[str, Any]


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def page(
    engine: Engine, table: Table, limit: int, cursor: str | None, where: Mapping[str, Any]
) -> tuple[list[Row], str | None]:
    """`limit` rows of `table` in order of creation, and the cursor of the next page, None after the last.

    InputError for a cursor that is none of ours.
    """
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    if cursor:
        at, id = _read_cursor(cursor)
        later = and_(table.c.created_at == at, table.c.id > id)
        query = query.where(or_(table.c.created_at > at, later))
    query = query.order_by(table.c.created_at, table.c.id).limit(limit + 1)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    more = len(rows) > limit
    return rows[:limit], _cursor(rows[limit - 1]) if more else None


def _cursor(row: Row) -> str:
    return base64.urlsafe_b64encode(f"{row['created_at']}:{row['id']}".encode()).decode()


def _read_cursor(text: str) -> tuple[int, str]:
    try:
        at, _, id = base64.b64decode(text, altchars=b"-_", validate=True).decode().partition(":")
        if not 0 <= int(at) < 2**62 or not id or not id.isprintable():
            raise ValueError(text)
        return int(at), id
    except (binascii.Error, ValueError):
        hint = "Take `next` of the page before."
        raise InputError("cursor", expected="one of this service", got="another", next_step=hint) from None


def get(engine: Engine, table: Table, id: str) -> Row | None:
    """The row with this id."""
    with engine.connect() as connection:
        row = connection.execute(select(table).where(table.c.id == id)).mappings().first()
    return None if row is None else dict(row)


def add_product(engine: Engine, row: Row) -> Row:
    """Store a product; InputError when its id is taken."""
    row = {"mask": None, **row, "created_at": now()}
    try:
        with engine.begin() as connection:
            connection.execute(insert(products), [row])
    except IntegrityError:
        hint = "Choose another id, or leave it out."
        raise InputError("id", expected="one that is free", got=f"'{row['id']}', taken", next_step=hint) from None
    return row


def add_job(engine: Engine, product_id: str, request: Row, total: int) -> Row:
    """Queue work for the painter."""
    moment = now()
    row: Row = {"id": uuid.uuid4().hex, "product_id": product_id, "request": request, "status": "queued"}
    row |= {"done": 0, "total": total, "message": "", "created_at": moment, "updated_at": moment}
    with engine.begin() as connection:
        connection.execute(insert(jobs), [row])
    return row


def claim_job(engine: Engine) -> Row | None:
    """The oldest queued job, marked as running; None when there is none."""
    oldest = select(jobs).where(jobs.c.status == "queued").order_by(jobs.c.created_at, jobs.c.id).limit(1)
    with engine.begin() as connection:
        row = connection.execute(oldest).mappings().first()
        if row is None:
            return None
        mine = (jobs.c.id == row["id"]) & (jobs.c.status == "queued")
        taken = connection.execute(update(jobs).where(mine).values(status="running", updated_at=now()))
        return dict(row) if taken.rowcount else None


def set_job(engine: Engine, id: str, **values: Any) -> None:
    """Change a job's status, progress or message."""
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(**values, updated_at=now()))


def requeue(engine: Engine) -> None:
    """Queue again what was running when the last painter ended; pictures keep their ids, so none is doubled."""
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.status == "running").values(status="queued", done=0))


def queue_length(engine: Engine) -> int:
    """Jobs that wait or run."""
    query = select(func.count()).select_from(jobs).where(jobs.c.status.in_(["queued", "running"]))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def add_creatives(engine: Engine, rows: list[Row]) -> None:
    """Store creatives; one that is there already stays as it is."""
    with engine.begin() as connection:
        wanted = [row["id"] for row in rows]
        known = set(connection.execute(select(creatives.c.id).where(creatives.c.id.in_(wanted))).scalars())
        fresh = {row["id"]: row for row in rows if row["id"] not in known}
        if fresh:
            connection.execute(insert(creatives), list(fresh.values()))


def ranked(engine: Engine, product_id: str) -> list[Row]:
    """A product's creatives, best predicted CTR first, the original among them."""
    query = select(creatives).where(creatives.c.product_id == product_id)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(creatives.c.utility.desc(), creatives.c.id)).mappings()
        return [dict(row) for row in rows]


def lock(engine: Engine, id: str, locked: bool) -> None:
    """Keep a creative, or let it go."""
    with engine.begin() as connection:
        connection.execute(update(creatives).where(creatives.c.id == id).values(locked=locked))
