"""The ledger's tables, on SQLite or PostgreSQL, and how a database is brought up to date (Alembic).

Times are whole milliseconds since 1970, UTC. An impression's row exists from its first counted event on; an event's row
exists for every event that came in, whatever became of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from caig.errors import InputError, MissingExtraError

MIGRATIONS = Path(__file__).parent / "migrations"
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    return Table(name, metadata, *columns)


def _text(name: str, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, String, *more, **{"nullable": False, **options})


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, BigInteger, **options)


products = _table(
    "products",
    _text("id", primary_key=True),
    _text("title"),
    _text("category"),
    _text("photo"),
    _text("mask", nullable=True),
    _time("created_at", nullable=False),
)
creatives = _table(
    "creatives",
    _text("id", primary_key=True),
    _text("product_id", ForeignKey("products.id"), index=True),
    _text("kind"),  # original, generated or edited
    _text("file"),
    _text("layers", nullable=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    _text("description"),
    _text("parent", nullable=True),  # the creative whose description was edited
    Column("seed", BigInteger, nullable=False),
    Column("utility", Float, nullable=False),
    Column("ctr", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    _text("basis"),  # what the predicted CTR was calibrated on
    Column("models", JSON, nullable=False),  # role -> name and fingerprint: what made it
    Column("reasons", JSON, nullable=False, default=list),  # why it was judged so, see caig.evaluation.qualities
    Column("broken", JSON, nullable=False, default=list),  # promises about the picture that are not kept
    Column("locked", Boolean, nullable=False),
    _time("created_at", nullable=False),
)
jobs = _table(
    "jobs",
    _text("id", primary_key=True),
    _text("product_id", ForeignKey("products.id"), index=True),
    Column("request", JSON, nullable=False),
    _text("status", index=True),  # queued, running, done or failed
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    _text("message"),
    _time("created_at", nullable=False),
    _time("updated_at", nullable=False),
)
campaigns = _table(
    "campaigns",
    _text("id", primary_key=True),
    _text("product_id", ForeignKey("products.id"), index=True),
    Column("rules", JSON, nullable=False),  # caig.online.allocation.Rules
    Column("highest_value", Float, nullable=False),
    _time("click_window", nullable=False),
    _time("order_window", nullable=False),
    Column("running", Boolean, nullable=False),
    _time("created_at", nullable=False),
)
arms = _table(
    "arms",
    _text("campaign_id", ForeignKey("campaigns.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 0 is the control
    _text("creative_id", ForeignKey("creatives.id")),
    Column("retired", Boolean, nullable=False),
)
allocations = _table(
    "allocations",
    _text("campaign_id", ForeignKey("campaigns.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    _text("policy"),
    Column("shares", JSON, nullable=False),  # creative -> share
    Column("posterior", JSON, nullable=False),  # creative -> [a, b]
    Column("strength", Float, nullable=False),  # impressions that the reward model's opinion was worth
    _time("at", nullable=False),
)
impressions = _table(
    "impressions",
    _text("id", primary_key=True),
    _text("campaign_id", ForeignKey("campaigns.id")),
    _text("product_id"),
    _text("creative_id"),
    _text("policy"),
    Column("version", Integer, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("position", Integer),
    _text("group", nullable=True),
    _time("at", nullable=False),  # the first event
    _time("shown_at"),
    _time("clicked_at"),
    _time("converted_at"),
    Column("value", Float, nullable=False),
    Column("bot", Boolean, nullable=False),
    Index(None, "campaign_id", "at"),
)
events = _table(
    "events",
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _text("campaign_id", nullable=True),
    _text("impression_id", nullable=True),
    _text("kind"),
    _text("status"),  # counted, repeated, late, unknown or bot
    _time("at", nullable=False),
    Index(None, "campaign_id", "kind", "status"),
)
models = _table(
    "models",
    _text("fingerprint", primary_key=True),
    _text("role"),
    _text("name"),
    _text("parent", nullable=True),
    Column("learned_from", JSON, nullable=False),
    _time("learned_until", nullable=False),  # clicks after this are held out from it
    Column("in_use", Boolean, nullable=False),
    _time("created_at", nullable=False),
)


def open_database(url: str, *, create: bool = True) -> Engine:
    """An engine for `url` (sqlite:///FILE or postgresql://…), its database brought up to date; with `create` a file
    that is not there is made.

    Raises:
        InputError: the URL is of another kind, or the database can't be reached.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise _unreachable(url, "another URL")
    try:
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            if not (create or Path(engine.url.database or "").is_file()):
                raise _unreachable(url, "no such file")
            event.listen(engine, "connect", _durable)
        upgrade(engine)
    except (OperationalError, ArgumentError, NoSuchModuleError) as error:
        raise _unreachable(url, str(error).splitlines()[0]) from None
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "postgres") from None
    return engine


def _unreachable(url: str, got: str) -> InputError:
    shown = url.rpartition("@")[2]  # never the password
    expected = "sqlite:///FILE or postgresql://USER@HOST/NAME that can be reached"
    return InputError(f"database {shown}", expected=expected, got=got, next_step="Check the URL and the server.")


def _durable(connection: Any, _: Any) -> None:
    """Readers never wait for the writer (WAL), and what was committed survives a power cut (FULL)."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
