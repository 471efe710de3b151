"""Connected components."""

from __future__ import annotations

import pytest

from kit.core.graph import components


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ([], ["a", "b", "c", "d"]),
        ([{"a"}], ["a", "b", "c", "d"]),
        ([{"a", "c"}], ["ac", "b", "d"]),
        ([{"a", "b"}, {"c", "d"}], ["ab", "cd"]),
        ([{"a", "b"}, {"c", "d"}, {"b", "c"}], ["abcd"]),
        ([{"d", "c", "a"}, {"a", "d"}], ["acd", "b"]),
    ],
)
def test_names_are_connected_directly_and_through_others(ties: list[set[str]], expected: list[str]) -> None:
    for order in (ties, ties[::-1]):
        assert sorted("".join(sorted(names)) for names in components("abcd", order)) == expected
