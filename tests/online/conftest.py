from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from caig.online.schema import creatives, open_database, products

PREDICTED = {"original": 0.02, "ad-1": 0.03, "ad-2": 0.04}


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A database with product `oat` and its creatives."""
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(insert(products), [product("oat")])
        connection.execute(insert(creatives), [creative(name, ctr) for name, ctr in PREDICTED.items()])
    yield engine
    engine.dispose()


def product(id: str) -> dict[str, Any]:
    return {"id": id, "title": "Oat milk", "category": "milk", "photo": "p.png", "mask": None, "created_at": 0}


def creative(id: str, ctr: float, product_id: str = "oat") -> dict[str, Any]:
    facts = {"description": "", "seed": 0, "utility": ctr, "low": ctr, "high": ctr, "basis": "simulated"}
    flags = {"models": {}, "locked": False, "created_at": 0, "layers": None, "parent": None, "width": 64, "height": 64}
    kind = "original" if "original" in id else "generated"
    return {"id": id, "product_id": product_id, "kind": kind, "file": f"{id}.png", "ctr": ctr, **facts, **flags}
