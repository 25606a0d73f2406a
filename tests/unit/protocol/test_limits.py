"""Limits that depend on each other."""

from __future__ import annotations

from fivefold.protocol import limits


def test_the_largest_operation_fits_into_a_frame() -> None:
    """Arguments at their limit, histories beside them, and the header."""
    assert limits.ARGUMENTS_BYTES_MAX * 2 < limits.FRAME_BYTES_MAX


def test_the_largest_version_fits_into_a_frame() -> None:
    """A sync reply carries state, answers and ring."""
    ring = limits.RING_ENTRIES * limits.CALLS_MAX * (limits.RING_ANSWER_BYTES_MAX + 64)
    answers = limits.CALLS_MAX * limits.ANSWER_BYTES_MAX
    assert limits.STATE_BYTES_MAX + limits.ANSWER_BYTES_MAX + ring < limits.FRAME_BYTES_MAX
    assert answers >= limits.ANSWER_BYTES_MAX


def test_a_combined_operation_fits_into_the_ring() -> None:
    """Otherwise a repeated request would not find its own calls."""
    assert limits.CALLS_MAX <= limits.RING_ENTRIES


def test_fewer_than_four_object_sets_fit_into_a_repair() -> None:
    """PROTOCOL §7, Limits."""
    assert limits.REPAIR_OBJECTS_MAX >= 4 * limits.OPERATION_OBJECTS_MAX


def test_time_cannot_be_used_up_by_leaps() -> None:
    """It takes a million leaps of the largest size to reach the end of time."""
    assert limits.TIME_MAX // limits.TIME_LEAD_MAX >= 1_000_000
