"""A decision travels to the shopper's page and back as a signed token: the ledger needs no row until the ad is seen.

    token = base64url(JSON of the decision) . base64url(HMAC-SHA256(key, JSON))

Whoever holds a token can read it, nobody without the key can make or change one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, fields
from operator import attrgetter

from caig.errors import InputError


class TokenError(InputError):
    """A token that this key did not sign, or that was damaged."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Which creative an impression got, and how it was drawn. Times are whole milliseconds since 1970, UTC.

    `version` is the campaign's allocation, `propensity` the creative's share in it. After `click_until` impressions and
    clicks are late, after `order_until` conversions are.
    """

    impression_id: str
    campaign_id: str
    product_id: str
    creative_id: str
    policy: str
    version: int
    propensity: float
    position: int | None
    group: str | None
    decided_at: int
    click_until: int
    order_until: int


_NAMES = tuple(field.name for field in fields(Decision))
_values = attrgetter(*_NAMES)


def derive(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose, so that what is signed for one can't be used for another."""
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)


def sign(key: bytes, decision: Decision) -> str:
    """The token of `decision`."""
    body = json.dumps(_values(decision), separators=(",", ":")).encode()
    return f"{_text(body)}.{_text(hmac.digest(key, body, hashlib.sha256))}"


def read(key: bytes, token: str) -> Decision:
    """The decision that `token` carries. TokenError unless `key` signed exactly it."""
    body, _, signature = token.partition(".")
    try:
        content, signed = _bytes(body), _bytes(signature)
    except (binascii.Error, ValueError):
        raise _forged("no base64") from None
    if not hmac.compare_digest(signed, hmac.digest(key, content, hashlib.sha256)):
        raise _forged("another signature")
    values = json.loads(content)
    return Decision(**dict(zip(_NAMES, values, strict=True)))


def _forged(got: str) -> TokenError:
    hint = "Send back the token that decide gave, unchanged."
    return TokenError("token", expected="one that this server signed", got=got, next_step=hint)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(content) != text:  # several texts decode to the same bytes; only one is ours
        raise ValueError(text)
    return content
