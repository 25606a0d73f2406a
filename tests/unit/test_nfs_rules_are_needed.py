"""Each rule of the file system is needed: with a bug planted in its place, its test fails."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from fivefold import Rejected
from fivefold.gateways.nfs import data, guesses, handles, names, procedures, repeats, rights, tree
from tests.unit import test_nfs_traps as traps

SMALL = traps.SMALL


class Bug(NamedTuple):
    """In the text of ``where.name``, ``new`` stands instead of ``old``; ``found_by`` fails with ``given``."""

    where: Any
    name: str
    old: str
    new: str
    found_by: Callable[..., Any]
    given: tuple[Any, ...] = ()


BUGS = {
    "moves_of_directories_are_not_counted": Bug(
        names, "rename", "counter.count += 1", "pass",
        traps.test_two_moves_of_directories_at_once_make_no_cycle, (range(40),)),
    "moves_are_not_a_condition": Bug(
        names, "rename", ".count != moves", ".count < moves",
        traps.test_two_moves_of_directories_at_once_make_no_cycle, (range(40),)),
    "a_name_that_is_there_is_taken": Bug(
        names, "link", "if found:", "if False:",
        traps.test_of_two_at_once_just_one_gets_the_name, ("link", range(20))),
    "the_second_exclusive_create_gets_the_file": Bug(
        names, "reopen", "child.verifier != new.verifier", "not child.verifier",
        traps.test_of_two_at_once_just_one_gets_the_name, ("exclusive", range(20))),
    "a_guess_is_an_answer": Bug(
        names, "lookup", "found != expected", "False",
        traps.test_a_gateway_that_guesses_by_what_it_saw_last_answers_by_what_is),
    "the_wrong_file_is_removed": Bug(
        names, "remove", "found != expected", "False",
        traps.test_a_gateway_that_guesses_wrong_removes_what_the_name_leads_to),
    "an_id_that_is_used_is_taken": Bug(
        names, "make", "child.kind != Kind.FREE", "False",
        traps.test_of_two_gateways_that_think_an_id_free_just_one_gets_it),
    "an_id_has_one_generation": Bug(
        names, "make", "generation=child.generation + 1", "generation=1",
        traps.test_forged_and_old_handles_are_told_apart),
    "a_handle_is_not_checked": Bug(
        handles.Handles, "decode", "or check != _check(magic, fsid, id, generation)", "",
        traps.test_forged_and_old_handles_are_told_apart),
    "a_removed_name_frees_the_file": Bug(
        names, "_unlink", "child.nlink and child.kind != Kind.DIR", "False",
        traps.test_what_a_rename_replaces_is_gone_and_a_full_directory_is_not),
    "a_full_directory_is_replaced": Bug(
        names, "_check_rename", "replaced.entries", "False",
        traps.test_what_a_rename_replaces_is_gone_and_a_full_directory_is_not),
    "a_replaced_directory_still_counts": Bug(
        names, "rename", "is_directory - (replaced is not None and replaced.kind == Kind.DIR)", "is_directory",
        traps.test_what_a_rename_replaces_is_gone_and_a_full_directory_is_not),
    "the_guard_is_not_looked_at": Bug(
        data, "setattr", "guard != inode.ctime", "False", traps.test_setattr_is_guarded_by_the_ctime),
    "ctime_follows_the_clock": Bug(
        rights, "touch", "max(now, inode.ctime + 1)", "now", traps.test_time_never_goes_back_in_ctime),
    "answers_are_not_kept": Bug(
        repeats.Repeats, "answer", "if is_kept(answer):", "if False:",
        traps.test_a_call_that_is_sent_again_answers_what_it_answered),
    "hosts_share_their_answers": Bug(
        repeats.Repeats, "key_of", "return host,", 'return "",',
        traps.test_a_call_that_is_sent_again_answers_what_it_answered),
    "a_small_file_keeps_what_was_cut": Bug(
        data, "cut", "inode.data[:size]", "inode.data",
        traps.test_a_small_file_has_no_chunk_and_a_larger_one_keeps_its_beginning, (1,)),
    "a_chunk_keeps_what_was_cut": Bug(
        data, "cut", "chunks[0].data[:rest]", "chunks[0].data",
        traps.test_what_was_cut_never_comes_back, (1,)),
    "the_beginning_does_not_move": Bug(
        data, "_write_chunks", 'b"" if number else inode.data', 'b""',
        traps.test_a_small_file_has_no_chunk_and_a_larger_one_keeps_its_beginning, (SMALL,)),
    "a_chunk_is_written_over_by_the_inode": Bug(
        data, "write", "or has(inode.live, 0)", "",
        traps.test_a_gateway_that_guesses_wrong_where_a_files_data_is_asks_again),
    "a_cut_without_its_chunk_is_none": Bug(
        data, "cut", "and not chunks", "and False",
        traps.test_a_gateway_that_guesses_wrong_where_a_files_data_is_asks_again),
    "the_wrong_place_is_not_told": Bug(
        names, "_look", "!= at.bucket", "> 1 << 60", traps.test_many_at_once_lose_nothing, (range(3),)),
    "names_stay_behind_in_the_inode": Bug(
        names, "split", "directory.names, {}", "{}, directory.names",
        traps.test_a_small_directory_has_no_bucket_and_a_larger_one_keeps_its_names_and_cookies),
    "a_new_cookie_is_any": Bug(
        names, "_new_cookie", "places_of(name)[0] << COOKIE_BITS", "len(names) << COOKIE_BITS",
        traps.test_a_listing_meets_what_stays_just_once_whatever_else_changes, (range(5),)),
    "emptied_chunks_are_forgotten": Bug(
        names, "_unlink", "add(child.garbage, low, high)", "pass",
        traps.test_what_ten_thousand_removed_files_leave_behind_is_bounded),
}  # fmt: skip


def plant(patch: pytest.MonkeyPatch, bug: Bug) -> None:
    """Compile the function anew with the bug in it, and put it wherever it is known."""
    function = getattr(bug.where, bug.name)
    text = textwrap.dedent(inspect.getsource(function))
    assert text.count(bug.old) == 1, f"{bug.name} has {bug.old!r} {text.count(bug.old)} times: plant the bug elsewhere"
    module = sys.modules[function.__module__]
    made: dict[str, Any] = {}
    text = "from __future__ import annotations\n" + text.replace(bug.old, bug.new)
    exec(compile(text, module.__file__ or "", "exec"), vars(module), made)
    instead = made[bug.name]
    if inspect.isclass(bug.where):
        patch.setattr(bug.where, bug.name, instead)
        return
    for each in (data, guesses, names, procedures, rights, tree):
        if getattr(each, bug.name, None) is function:
            patch.setattr(each, bug.name, instead)


@pytest.mark.parametrize("name", BUGS)
async def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the rule fails, for one of its seeds at least."""
    bug = BUGS[name]
    plant(monkeypatch, bug)
    *fixed, last = bug.given or (None,)
    for each in last if isinstance(last, range) else [last]:
        try:
            await bug.found_by(*fixed, *([] if each is None else [each]))
        except (AssertionError, Rejected, IndexError):
            return
    pytest.fail(f"{bug.found_by.__name__} does not see {name}")
