"""Ranges of chunk numbers, and the chunks of sparse, cut and removed files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fivefold.gateways.nfs.guesses import buckets_from
from fivefold.gateways.nfs.objects import PLACE_BITS, bucket_of, places_of
from fivefold.gateways.nfs.ranges import add, count, first, has, merge, remove, within

piece = st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 9))


def twin(ranges: list[int]) -> set[int]:
    return {at for at in range(60) if has(ranges, at)}


@given(st.lists(piece, max_size=40))
def test_ranges_are_a_set_of_numbers(pieces: list[tuple[bool, int, int]]) -> None:
    """Adding and removing does what it does to a set, and ranges stay sorted and apart."""
    ranges: list[int] = []
    numbers: set[int] = set()
    for is_added, start, size in pieces:
        if is_added:
            add(ranges, start, start + size)
            numbers |= set(range(start, start + size))
        else:
            remove(ranges, start, start + size)
            numbers -= set(range(start, start + size))
        assert ranges == sorted(set(ranges))
        assert (twin(ranges), count(ranges), first(ranges, 5)) == (numbers, len(numbers), sorted(numbers)[:5])
        assert twin(within(ranges, start, start + size)) == numbers & set(range(start, start + size))


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)), st.integers(1, 4))
def test_merged_ranges_cover_nothing_that_is_kept_apart(numbers: set[int], others: set[int], most: int) -> None:
    """All numbers stay, none of the others comes in, and few ranges are left unless others lie in every gap."""
    ranges: list[int] = []
    apart: list[int] = []
    for at in numbers:
        add(ranges, at, at + 1)
    for at in others - numbers:
        add(apart, at, at + 1)
    is_few = merge(ranges, apart, most)
    assert twin(ranges) >= numbers
    assert not twin(ranges) & (others - numbers)
    assert is_few == (len(ranges) <= 2 * most)
    if not is_few:
        gaps = zip(ranges[1:-1:2], ranges[2::2], strict=True)
        assert all(within(apart, low, high) for low, high in gaps)


@given(st.binary(min_size=1, max_size=20), st.integers(0, 6), st.integers(0, 63), st.integers(1, 15))
def test_buckets_follow_each_other_in_the_order_of_places(name: bytes, level: int, split: int, many: int) -> None:
    """Each bucket comes once, in a stretch of places that holds just its names."""
    split %= 1 << level
    place, found = 0, []
    while place < 1 << PLACE_BITS:
        numbers, end = buckets_from(level, split, place, many)
        own, low = places_of(name)
        if place <= own < end:
            assert bucket_of(level, split, low) in numbers
        found += numbers
        place = end
    assert sorted(found) == list(range((1 << level) + split))
