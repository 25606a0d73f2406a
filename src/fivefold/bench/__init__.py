"""Measuring Fivefold: `fivefold bench`, its load, its floor, its baseline by agreement, its pictures."""

from fivefold.bench.command import bench

__all__ = [
    "bench",
]
