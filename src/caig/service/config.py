"""What `caig serve` is told: one record, from which the command line is made."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from caig.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig serve`."""

    folder: Path = Path("caig-service")
    """Where pictures, the secret behind keys and tokens, and the SQLite ledger lie."""
    database: str = ""
    """URL of the ledger: sqlite:///FILE or postgresql://USER@HOST/NAME; by default ledger.db in the folder."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but a loopback address opens the service to the network."""
    port: int = 8000
    """Port to listen on."""
    allow_host: tuple[str, ...] = ()
    """Host names, with port where it is not the scheme's own, that requests may be sent to; loopback always may."""
    insecure: bool = False
    """Ask for no keys; on a loopback address only."""
    upload_bytes: int = 20_000_000
    """Largest upload."""
    upload_pixels: int = 16_000_000
    """Most pixels of an uploaded photo or mask."""
    events_per_second: int = 1000
    """Decisions and events that a key may send, on average over ten seconds."""
    changes_per_minute: int = 120
    """Uploads, jobs and other changes that a key may send."""
    refresh_seconds: float = 10.0
    """How often a campaign's shares follow its clicks."""
    painter: bool = True
    """Run the painter, in a process of its own; without it jobs wait for another one."""
    prompt_model: str = "embedded"
    """Writes descriptions: embedded, a folder, owner/name on the hub, or python:module:factory."""
    background_model: str = "embedded"
    """Paints: named like the prompt model."""
    reward_model: str = "embedded"
    """Predicts the CTR: named like the prompt model."""

    def __post_init__(self) -> None:
        if self.insecure and not self.on_loopback:
            hint = "Leave --insecure out and make keys: caig keys."
            got = f"--host {self.host}"
            raise InputError("--insecure", expected="a loopback address", got=got, next_step=hint)
        positive = ("upload_bytes", "upload_pixels", "events_per_second", "changes_per_minute", "refresh_seconds")
        for name in positive:
            if not getattr(self, name) > 0:
                got = str(getattr(self, name))
                raise InputError(name, expected="a number above 0", got=got, next_step="Raise it.")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The ledger's URL."""
        return self.database or f"sqlite:///{(self.folder / 'ledger.db').absolute()}"
