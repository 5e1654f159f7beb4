"""Versions as engines say them: by the order of Python's packages, whatever they were built from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from forebay.engines.version import Support, Versions

RANGE = Versions(oldest="0.11.0", newest="0.32.0")
OLDER, NEWER, SUPPORTED, UNKNOWN = Support.OLDER, Support.NEWER, Support.SUPPORTED, Support.UNKNOWN


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0.11.0", SUPPORTED),
        ("0.11", SUPPORTED),
        ("v0.11.0", SUPPORTED),
        ("0.11.0.0", SUPPORTED),
        ("0.11.0.post2", SUPPORTED),
        ("0.11.0.post2+cpu", SUPPORTED),
        ("0.11.0.post1.dev3+gabc", SUPPORTED),
        ("0.11.0+cpu", SUPPORTED),
        ("0.11.0rc1", OLDER),
        ("0.11.0.dev12+gfe0123", OLDER),
        ("0.10.2", OLDER),
        ("0.9.2.post1", OLDER),
        ("0.2", OLDER),
        ("0.11.1rc6.dev123+gabc1234", SUPPORTED),
        ("0.20.0", SUPPORTED),
        ("0.20.1.dev5+g1234567.d20260101", SUPPORTED),
        ("0.32.0rc2", SUPPORTED),
        ("0.32.0.dev7", SUPPORTED),
        ("0.32.0", SUPPORTED),
        ("0.32.0+cu129", SUPPORTED),
        ("0.32.0+cpu.avx512", SUPPORTED),
        ("0.32.0.post1", SUPPORTED),
        ("0.32.0-1", SUPPORTED),
        ("0.32.4", SUPPORTED),
        ("0.32.1rc1", SUPPORTED),
        ("0.32.1.dev5+gabc", NEWER),
        ("0.32.0.post1.dev5", NEWER),
        ("0.32.1rc3.dev88+g1", NEWER),
        ("0.33.0.dev12+gdeadbeef", NEWER),
        ("0.33.0rc1", NEWER),
        ("0.33.0", NEWER),
        ("0.100.0", NEWER),
        ("1.0.0", NEWER),
        ("dev", UNKNOWN),
        ("unknown", UNKNOWN),
        ("", UNKNOWN),
        ("0.32.0 (abc)", UNKNOWN),
        ("0.32.x", UNKNOWN),
        ("٠.٣٢", UNKNOWN),
    ],
)
def test_a_version_beside_those_that_are_supported(said: str, expected: Support) -> None:
    assert RANGE.judge(said) is expected


numbers = st.integers(0, 40)
releases = st.one_of(st.tuples(st.integers(0, 1), numbers), st.tuples(st.integers(0, 1), numbers, st.integers(0, 3)))
suffixes = st.tuples(
    st.sampled_from(["", "a1", "b2", "rc1"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev3"]),
    st.sampled_from(["", "+cpu", "+gabc123.d2026"]),
)


@given(releases, suffixes)
def test_it_agrees_with_the_order_of_packages(release: tuple[int, ...], parts: tuple[str, ...]) -> None:
    said = ".".join(map(str, release)) + "".join(parts)
    version, public = Version(said), Version(Version(said).public)
    after = public > Version(RANGE.newest) and (public.release[:2] > (0, 32) or version.dev is not None)
    expected = OLDER if public < Version(RANGE.oldest) else NEWER if after else SUPPORTED
    assert RANGE.judge(said) is expected, said


@given(st.text(max_size=40))
def test_no_word_makes_it_fail(said: str) -> None:
    RANGE.judge(said)
