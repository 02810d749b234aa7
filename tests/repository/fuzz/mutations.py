"""Bytes changed at random, most of them where headers are."""

import random


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled, deleted or swapped."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        place = min(int(rng.expovariate(1 / 60)) if rng.random() < 0.7 else rng.randrange(2**30), len(content) - 1)
        match rng.choice(["flip", "byte", "cut", "double", "delete", "extreme"]):
            case "flip" if content:
                content[place] ^= 1 << rng.randrange(8)
            case "byte" if content:
                content[place] = rng.randrange(256)
            case "cut":
                del content[rng.randrange(len(content) + 1) :]
            case "double":
                content[place:place] = content[place : place + rng.randrange(1, 200)]
            case "delete":
                del content[place : place + rng.randrange(1, 200)]
            case "extreme":
                content[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
    return bytes(content)
