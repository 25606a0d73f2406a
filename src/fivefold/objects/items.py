"""How many items encoded bytes hold: what they cost to decode, which their size does not say.

A MiB can be one text, or a million empty lists that take a quarter of a second to make.
"""

from __future__ import annotations

from typing import Final


def _steps() -> list[tuple[int, int]]:
    """By an item's first byte: its bytes without what a length in it adds, and the bytes of that length.

    The items of an array or map simply follow it. See https://github.com/msgpack/msgpack/blob/master/spec.md
    """
    steps = [(1, 0)] * 256
    for size in range(32):
        steps[0xA0 + size] = (1 + size, 0)  # text
    for first, length in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        steps[first] = (1 + length, length)  # bytes, text
    for first, length in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        steps[first] = (2 + length, length)  # extensions
    for first, size in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        steps[first] = (1 + size, 0)  # floats, whole numbers
    for first, size in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8), (0xDC, 2), (0xDD, 4), (0xDE, 2), (0xDF, 4)):
        steps[first] = (1 + size, 0)  # negative numbers, heads of arrays and maps
    for power in range(5):
        steps[0xD4 + power] = (2 + 2**power, 0)  # extensions of a fixed size
    return steps


_STEPS: Final = _steps()


def has_more_items(data: bytes, most: int) -> bool:
    """Whether MessagePack holds more than ``most`` items; a map's keys count, and so does what holds others.

    Takes no more steps than that, and none for bytes that are fewer. Bytes that are no MessagePack may be miscounted.
    """
    size = len(data)
    if size <= most:
        return False
    at = 0
    for _ in range(most):
        step, length = _STEPS[data[at]]
        if length:
            step += int.from_bytes(data[at + 1 : at + 1 + length], "big")
        at += step
        if at >= size:
            return False
    return True
