"""Keys of the service: `caig_<role>_<name>_<HMAC of role and name>`. Only the folder's secret makes one.

No list of keys has to be kept, so none can leak. `revoke` takes a name back; a new secret takes all of them back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path
from typing import Literal, get_args

from caig.errors import InputError
from caig.online.tokens import derive

Role = Literal["admin", "events"]  # everything, or decisions and events only
NAME = re.compile(r"[a-z0-9-]{1,40}")
RECHECK = 1.0  # seconds between two looks at the revoked names
KEY = re.compile(r"caig_(admin|events)_([a-z0-9-]{1,40})_([a-z2-7]{32})")


class Keys:
    """The keys of a service's folder."""

    def __init__(self, folder: Path) -> None:
        self.secret = read_secret(folder)
        self._key = derive(self.secret, "keys")
        self._revoked = folder / "revoked-keys"
        self._read_at, self._names = -RECHECK, frozenset[str]()

    def make(self, role: Role, name: str) -> str:
        """The key of `name`; the same each time. InputError for a name that can't be one, or was revoked."""
        if role not in get_args(Role) or not NAME.fullmatch(name):
            hint = "Choose another name."
            expected = "a role among admin, events and a name of a-z, 0-9 and -"
            raise InputError("key", expected=expected, got=f"'{role}' and '{name}'", next_step=hint)
        if name in self.revoked():
            raise InputError(
                "key", expected="a name that was never revoked", got=f"'{name}'", next_step="Take another."
            )
        return f"caig_{role}_{name}_{self._sign(role, name)}"

    def read(self, text: str) -> tuple[Role, str] | None:
        """(role, name) of a good key; None for any other text."""
        match = KEY.fullmatch(text)
        if match is None or not hmac.compare_digest(match[3], self._sign(match[1], match[2])):
            return None
        return None if match[2] in self.revoked() else (match[1], match[2])  # type: ignore[return-value]

    def revoke(self, name: str) -> None:
        """Refuse the keys of `name` from now on; a running service learns of it within a second."""
        with self._revoked.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        self._read_at = -RECHECK

    def revoked(self) -> frozenset[str]:
        """Names whose keys are refused."""
        if time.monotonic() - self._read_at >= RECHECK:
            self._read_at = time.monotonic()
            self._names = frozenset(self._revoked.read_text("utf-8").split() if self._revoked.exists() else ())
        return self._names

    def _sign(self, role: str, name: str) -> str:
        digest = hmac.digest(self._key, f"{role}/{name}".encode(), hashlib.sha256)[:20]
        return base64.b32encode(digest).decode().lower()


def read_secret(folder: Path) -> bytes:
    """The 32 secret bytes of `folder`, made at the first call and readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != 32:
            got, hint = f"{len(secret)}", "Restore it, or delete it to make all keys and tokens void."
            raise InputError(str(path), expected="32 bytes", got=got, next_step=hint) from None
        return secret
    with os.fdopen(handle, "wb") as file:
        file.write(secret := secrets.token_bytes(32))
    return secret
