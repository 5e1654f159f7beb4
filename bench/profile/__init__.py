"""`make bench-profile`: `kubectl forebay profile` on a million lines whose truth is known."""
