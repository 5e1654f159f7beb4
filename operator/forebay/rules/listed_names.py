"""Which names of a pool an engine has: its own word counts, because adapters come and go without the table. Pure."""


def missing(served: tuple[str, ...], listed: tuple[str, ...]) -> tuple[str, ...]:
    """Names that the routing table promises and an engine does not list.

    An engine that lists nothing, or none of them, says nothing of them: it is taken to have all.
    """
    if not listed or listed == served:
        return ()
    found = tuple(name for name in served if name not in listed)
    return () if len(found) == len(served) else found
