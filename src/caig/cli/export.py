"""`caig export`: what other systems need of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Database = Annotated[str, Parameter(help="URL of the ledger: sqlite:///FILE or postgresql://USER@HOST/NAME.")]
Campaign = Annotated[str, Parameter(help="The campaign's id.")]


def policy(*, database: Database, campaign: Campaign) -> None:
    """Print a campaign's newest arm probabilities as JSON, for an ad server of your own.

    JSON: {"campaign", "product", "version", "at", "policy", "control", "probabilities": {creative: share}}. Draw with
    these and log them as propensities, and `caig comparisons` corrects for them.
    """
    from caig.artifacts import to_json
    from caig.online.export import policy_of

    print(to_json(policy_of(database, campaign), indent=1))


def clicks(
    *,
    database: Database,
    out: Annotated[Path, Parameter(help="File to write: .parquet or .csv.")],
    since: Annotated[str, Parameter(help="First day, such as 2026-01-31; UTC.")] = "",
    until: Annotated[str, Parameter(help="The day after the last; UTC.")] = "",
) -> None:
    """Write the ledger's impressions, one row each, as `caig comparisons` and `caig train reward` read them.

    Suspected bots are left out.
    """
    from caig.online.export import write_clicks

    print(write_clicks(database, out, since, until))
    print(out)
