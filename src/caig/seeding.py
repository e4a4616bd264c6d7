"""One seed per (run, product, candidate): never a global generator."""

from __future__ import annotations

import hashlib


def seed_for(*parts: int | str) -> int:
    """Derive a 63-bit seed from `parts`, e.g. `seed_for(run_seed, product.id, k)`; stable across machines."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
