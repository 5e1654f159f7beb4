"""A parsed request, where `journey` looks for it."""

from forebay.rules.dialect.parsed_request import Ask

__all__ = ["Ask"]
