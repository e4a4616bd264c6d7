"""Why a creative was judged so, and which promises it breaks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("reasons", "broken"):
        op.add_column("creatives", sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
