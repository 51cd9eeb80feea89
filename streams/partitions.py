"""Which partition a key belongs to, as Kafka's default partitioner has it. Must not know of clients or topics."""

from functools import lru_cache
from struct import unpack_from

MASK = 0xFFFFFFFF
MULTIPLIER = 0x5BD1E995
SEED = 0x9747B28C
CACHED_KEYS = 1 << 16  # murmur2 in Python costs microseconds; keys come again


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic with so many partitions."""
    return (_hash(key) & 0x7FFFFFFF) % partitions


@lru_cache(CACHED_KEYS)
def _hash(key: bytes) -> int:
    """Murmur2 as in Kafka's Java client (`org.apache.kafka.common.utils.Utils.murmur2`)."""
    words = len(key) >> 2
    whole = words << 2
    value = SEED ^ len(key)
    for word in unpack_from(f"<{words}I", key):
        word = word * MULTIPLIER & MASK
        value = (value * MULTIPLIER ^ (word ^ word >> 24) * MULTIPLIER) & MASK
    if whole < len(key):
        value = (value ^ int.from_bytes(key[whole:], "little")) * MULTIPLIER & MASK
    value = (value ^ value >> 13) * MULTIPLIER & MASK
    return value ^ value >> 15
