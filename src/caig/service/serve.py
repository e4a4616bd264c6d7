"""Serve ads over HTTP: make, show, count clicks, and shift impressions to what is clicked.

Listens on loopback only, unless told otherwise, and asks for keys (`caig keys`).
"""

from __future__ import annotations

import importlib.util
from typing import Any

from caig.errors import InputError, MissingExtraError
from caig.service.config import Config

NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "multipart", "prometheus_client")


def check_extra() -> None:
    """MissingExtraError unless what `caig[service]` installs is there."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "service")


def run(config: Config) -> Any:
    """Serve until interrupted. InputError where folder, database or address can't be used."""
    check_extra()
    import uvicorn

    from caig.service.app import create_app

    app = create_app(config)
    settings = uvicorn.Config(app, config.host, config.port, log_level="warning", access_log=False, server_header=False)
    try:
        uvicorn.Server(settings).run()
    except SystemExit:  # its way to say that it cannot listen
        where, hint = f"{config.host}:{config.port}", "Choose another --port or --host."
        raise InputError(where, expected="a free address of this machine", got="another", next_step=hint) from None
    return f"served on {config.host}:{config.port}"
