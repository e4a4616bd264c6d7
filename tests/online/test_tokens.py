"""Tokens: nobody without the key makes, changes or respells one."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from caig.online.tokens import Decision, TokenError, derive, read, sign

KEY = derive(b"secret", "tokens")
DECISION = Decision(
    impression_id="i1",
    campaign_id="c1",
    product_id="p1",
    creative_id="a1",
    policy="thompson",
    version=3,
    propensity=0.1 + 0.2,
    position=2,
    group=None,
    decided_at=0,
    click_until=1000,
    order_until=2000,
)


def test_a_decision_comes_back_exactly() -> None:
    assert read(KEY, sign(KEY, DECISION)) == DECISION


def test_keys_of_other_purposes_and_secrets_do_not_fit() -> None:
    token = sign(KEY, DECISION)
    for other in (derive(b"secret", "keys"), derive(b"other", "tokens")):
        with pytest.raises(TokenError, match="another signature"):
            read(other, token)


def test_every_changed_character_is_found() -> None:
    token = sign(KEY, DECISION)
    for k, letter in enumerate(token):
        with pytest.raises(TokenError):
            read(KEY, token[:k] + ("A" if letter != "A" else "B") + token[k + 1 :])


@pytest.mark.parametrize("token", ["", ".", "x", "a.b.c", "é.é", "AAAA", "%00.%00", "=.=", "A" * 10_000])
def test_rubbish(token: str) -> None:
    with pytest.raises(TokenError, match="^token: expected one that this server signed"):
        read(KEY, token)


def test_another_decision_under_the_same_signature() -> None:
    body, signature = sign(KEY, DECISION).split(".")
    values = list(json.loads(base64.urlsafe_b64decode(body + "==")))
    values[3] = "a2"
    forged = base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).rstrip(b"=").decode()
    with pytest.raises(TokenError):
        read(KEY, f"{forged}.{signature}")
    assert read(KEY, sign(KEY, replace(DECISION, creative_id="a2"))).creative_id == "a2"


def test_one_spelling_only() -> None:
    """The last character of a base64 text may have bits that decoding drops."""
    body, signature = sign(KEY, DECISION).split(".")
    respelled = [f"{body}.{signature[:-1]}{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh"]
    accepted = [token for token in respelled if _reads(token)]
    assert set(accepted) <= {f"{body}.{signature}"}


def _reads(token: str) -> bool:
    try:
        return read(KEY, token) == DECISION
    except TokenError:
        return False
