"""What `fivefold upgrade check` says of a change."""

from __future__ import annotations

import pytest

from fivefold.objects import MethodDescription, TypeDescription, compare

METHODS = (
    MethodDescription("get", "query", "() -> int", "", ()),
    MethodDescription("put", "update", "(x: int)", "", ()),
)
OLD = TypeDescription("Names", "", (("a", "int"), ("b", "str")), METHODS, version=1, code="11")


def changed(**changes: object) -> TypeDescription:
    parts = {"fields": OLD.fields, "methods": METHODS, "version": 2, "code": "22", "migrates": (), **changes}
    return TypeDescription("Names", "", **parts)  # type: ignore[arg-type]


def weights(new: TypeDescription) -> dict[str, str]:
    return {finding.text: finding.weight for finding in compare(OLD, new)}


def only(new: TypeDescription, weight: str) -> str:
    found = [text for text, each in weights(new).items() if each == weight]
    assert len(found) == 1, found
    return found[0]


def test_the_same_code_changes_nothing() -> None:
    """One finding, which says so."""
    assert weights(changed(code="11")) == {"Names 2 runs already: nothing changes": "fine"}


def test_one_version_for_two_codes_leaves_a_gap() -> None:
    """The hint names the version to take."""
    assert "give it version=2 to run both side by side" in only(changed(version=1), "note")


def test_going_back_is_a_danger() -> None:
    """An older version refuses what the newer one has updated."""
    newer = TypeDescription("Names", "", OLD.fields, METHODS, version=3, code="33")
    assert any(each.weight == "danger" and "is older than Names 3" in each.text for each in compare(newer, changed()))


def test_fields_at_the_end_are_fine() -> None:
    """They read as their defaults."""
    found = weights(changed(fields=(*OLD.fields, ("c", "float"))))
    assert found["field c: float is added: stored objects read as its default"] == "fine"
    assert set(found.values()) == {"fine"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((("a", "int"),), "field b: str is gone"),
        ((("a", "int"), ("c", "str")), "field b: str becomes c: str"),
        ((("a", "int"), ("b", "bytes")), "field b: str becomes b: bytes"),
    ],
)
def test_other_changes_of_fields_need_a_migration(fields: tuple[tuple[str, str], ...], text: str) -> None:
    """Gone, renamed or retyped: a danger without a migration from the running version, fine with one."""
    assert text in only(changed(fields=fields), "danger")
    assert "danger" not in weights(changed(fields=fields, migrates=(1,))).values()
    assert text in only(changed(fields=fields, migrates=(7,)), "danger")


def test_methods_that_go_are_a_danger() -> None:
    """Clients call them; new ones are fine, and other parameters are worth a look."""
    assert "query get is gone" in only(changed(methods=METHODS[1:]), "danger")
    assert (
        weights(changed(methods=(*METHODS, MethodDescription("add", "update", "()", "", ()))))["update add is new"]
        == "fine"
    )
    other = MethodDescription("get", "query", "(deep: bool) -> int", "", ())
    assert "get() -> int becomes get(deep: bool) -> int" in only(changed(methods=(other, METHODS[1])), "note")
    kind = MethodDescription("get", "update", "() -> int", "", ())
    assert "get changes from query to update" in only(changed(methods=(kind, METHODS[1])), "danger")
