#!/usr/bin/env python3
"""Works out vectors.json word by word from the definition (src/fingerprint.rs), with Python's own integers."""
import json

BLOCK, LANES, MASK = 65536, 64, 0xFFFFFFFF
P, PRIMES = 0x9E3779B1, [0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1]


def rotl(x, n):
    return (x << n | x >> (32 - n)) & MASK


def block_hash(block):
    block = block.ljust(BLOCK, b"\0")
    words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, BLOCK, 4)]
    word = list(PRIMES)
    for lane in range(LANES):
        acc = (lane + 1) * P & MASK
        for w in words[lane::LANES]:
            acc = rotl(acc ^ w, 15) * P & MASK
        word[lane % 4] = rotl(word[lane % 4] ^ acc, 13) * P & MASK
    return word


def mixed(word, index):
    a, b, c, d = word
    a ^= index & MASK
    b ^= index >> 32
    for _ in range(4):
        a = (a ^ rotl(d, 7)) * PRIMES[0] & MASK
        b = (b ^ rotl(a, 11)) * PRIMES[1] & MASK
        c = (c ^ rotl(b, 17)) * PRIMES[2] & MASK
        d = (d ^ rotl(c, 23)) * PRIMES[3] & MASK
    return [x ^ x >> 15 for x in (a, b, c, d)]


def fingerprint(parts, size):
    """parts: {offset: bytes}."""
    disk = {}
    for offset, data in parts.items():
        for i, byte in enumerate(data):
            at = offset + i
            disk.setdefault(at // BLOCK, bytearray(BLOCK))[at % BLOCK] = byte
    total = [0, 0, 0, 0]
    for index, block in disk.items():
        if any(block):
            total = [(t + m) & MASK for t, m in zip(total, mixed(block_hash(bytes(block)), index))]
    return b"".join(t.to_bytes(4, "little") for t in total).hex()


def pattern(length):
    return bytes((i * i * 7 + i // 3) % 251 for i in range(length))


CASES = [
    ("an empty disk", 0, []),
    ("zeros only", 1 << 20, []),
    ("one block of 'A'", BLOCK, [(0, "A", BLOCK)]),
    ("one byte at the end of a short last block", 70000, [(69999, "A", 1)]),
    ("the same block of 'A' elsewhere", 3 * BLOCK, [(2 * BLOCK, "A", BLOCK)]),
    ("a pattern over several blocks", 300001, [(0, None, 300001)]),
    ("a pattern off the blocks' borders, far out", 1 << 50, [((1 << 49) + 12345, None, 100000)]),
]

if __name__ == "__main__":
    vectors = []
    for why, size, fills in CASES:
        parts = {at: pattern(n) if fill is None else fill.encode() * n for at, fill, n in fills}
        vectors.append({"why": why, "size": size, "fills": fills, "fingerprint": fingerprint(parts, size)})
    rows = ",\n".join("  " + json.dumps(v) for v in vectors)
    print(f"[\n{rows}\n]")
