"""Keys that were never given out."""

from __future__ import annotations

import random
import zlib

from audit import ALPHABET


def base32(value: int, digits: int) -> str:
    """Crockford base32."""
    return "".join(ALPHABET[(value >> (5 * place)) & 31] for place in reversed(range(digits)))


def wrong_secret(key: str, rng: random.Random) -> str:
    """The key's id with another secret and a good CRC: only the hash can tell."""
    body = key[: len("sk-db-") + 13] + "".join(rng.choice(ALPHABET) for _ in range(52))
    return body + base32(zlib.crc32(body.encode()), 7)
