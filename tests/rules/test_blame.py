"""Whose fault a refusal is."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.rules.blame import MOST_SEEN, NONE_REFUSED, digest_of, refused


@given(st.lists(st.integers(0, 9), max_size=40))
def test_each_request_counts_once(requests: list[int]) -> None:
    known, faults = NONE_REFUSED, 0
    for number in requests:
        known, fault = refused(known, digest_of("ann", b"%d" % number))
        faults += fault
    assert faults == len(set(requests)) == len(known.seen)


def test_what_is_remembered_is_bounded() -> None:
    known = NONE_REFUSED
    for number in range(3 * MOST_SEEN):
        known, fault = refused(known, digest_of("ann", b"%d" % number))
        assert fault
    assert len(known.seen) == MOST_SEEN


def test_a_request_is_its_client_and_its_words() -> None:
    long = b"x" * 1_000_000
    bodies = [b"", b"a", b"b", long, long + b"a", long + b"b", b"a" + long]
    digests = {digest_of(client, body) for client in ("ann", "bob") for body in bodies}
    assert len(digests) == 2 * len(bodies)
    assert digest_of("ann", b"a") == digest_of("ann", b"a")
