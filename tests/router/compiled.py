"""What tests cannot do to the compiled request path."""

import pytest

from forebay.router import gateway

patches_a_method = pytest.mark.skipif(
    (gateway.__file__ or "").endswith(".so"), reason="puts itself in place of a method; compiled ones are read-only"
)
"""Of a test that only the interpreted build can run."""
