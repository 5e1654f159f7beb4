"""What a person asks: `kubectl forebay`. One module a command; each is a thin shell around pure functions."""
