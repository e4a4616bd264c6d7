"""Files for other systems: a campaign's shares, and the ledger's impressions as a click log."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from caig.artifacts import write_atomic
from caig.errors import InputError
from caig.online.campaigns import latest, read_campaigns
from caig.online.ledger import Ledger
from caig.online.schema import open_database

FORMULA = r"^[=+\-@\t\r]"  # what makes a spreadsheet run a cell


def policy_of(database: str, campaign_id: str) -> dict[str, Any]:
    """A campaign's newest shares, see `Allocation.as_policy`. InputError where there is no such campaign."""
    engine = open_database(database, create=False)
    known = {campaign.id: campaign for campaign in read_campaigns(engine)}
    allocation = latest(engine, known[campaign_id]) if campaign_id in known else None
    if allocation is None:
        expected = f"one of {', '.join(known)}" if known else "one that there is"
        raise InputError("campaign", expected=expected, got=f"'{campaign_id}'", next_step="Check the id.")
    return allocation.as_policy()


def write_clicks(database: str, out: Path, since: str = "", until: str = "") -> str:
    """Write the impressions of the days since <= day < until (UTC) to a Parquet or CSV file; says how many.

    In CSV, texts that a spreadsheet would run as a formula get a ' in front. InputError for other suffixes and days.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise InputError("out", expected="a .parquet or .csv file", got=str(out), next_step="Rename it.")
    first, end = _moment("since", since), _moment("until", until)
    log = Ledger(open_database(database, create=False)).export(first or 0, end)
    buffer = io.BytesIO()
    if out.suffix == ".csv":
        neutral(log).write_csv(buffer)
    else:
        log.write_parquet(buffer)
    write_atomic(out, buffer.getvalue())
    return f"{len(log)} impressions, {int(log['clicked'].sum())} clicked"


def neutral(log: pl.DataFrame) -> pl.DataFrame:
    """`log` with a ' before every text that a spreadsheet would run."""
    text = pl.col(pl.String)
    return log.with_columns(pl.when(text.str.contains(FORMULA)).then("'" + text).otherwise(text).name.keep())


def _moment(name: str, day: str) -> int | None:
    """Milliseconds since 1970 at the day's start in UTC."""
    if not day:
        return None
    try:
        start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    except ValueError:
        hint = "Write YYYY-MM-DD."
        raise InputError(name, expected="a day such as 2026-01-31", got=f"'{day}'", next_step=hint) from None
    return int(start.timestamp() * 1000)
