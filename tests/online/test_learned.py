"""Models of the loop on record, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from caig.online.learned import Learned, judge_anew, name_in_use, register
from caig.online.schema import creatives, models
from caig.types import Score


def model(name: str, role: str = "reward", parent: str | None = None) -> Learned:
    return Learned(
        role=role,
        fingerprint=f"{role}-{name}",
        name=name,
        parent=parent,
        learned_from={"cycle": 1, "logs": ["ab"]},
        learned_until=5,
    )


def test_one_model_a_role_is_in_use(engine: Engine) -> None:
    assert name_in_use(engine, "reward") is None
    register(engine, model("one"), 1, in_use=True)
    register(engine, model("writer", "prompt"), 2, in_use=True)
    register(engine, model("two", parent="reward-one"), 3, in_use=False)  # stayed out
    assert (name_in_use(engine, "reward"), name_in_use(engine, "prompt")) == ("one", "writer")
    register(engine, model("two", parent="reward-one"), 4, in_use=True)  # again, after a cut: once on record
    assert (name_in_use(engine, "reward"), name_in_use(engine, "prompt")) == ("two", "writer")
    with engine.connect() as connection:
        rows = connection.execute(select(models).order_by(models.c.created_at)).all()
    assert [(row.fingerprint, row.in_use) for row in rows] == [
        ("reward-one", False),
        ("prompt-writer", True),
        ("reward-two", True),
    ]
    assert (rows[2].parent, rows[2].learned_from, rows[2].learned_until) == (
        "reward-one",
        {"cycle": 1, "logs": ["ab"]},
        5,
    )


def test_judging_anew_changes_predictions_alone(engine: Engine) -> None:
    judge_anew(engine, [])
    judge_anew(engine, [Score(creative_id="ad-1", utility=1.5, ctr=0.07, low=0.06, high=0.08, basis="click log")])
    with engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(select(creatives))}
    assert (rows["ad-1"].utility, rows["ad-1"].ctr, rows["ad-1"].basis) == (1.5, pytest.approx(0.07), "click log")
    assert (rows["ad-2"].ctr, rows["ad-2"].basis, rows["ad-1"].file) == (0.04, "simulated", "ad-1.png")
