"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# Nothing here may depend on how busy the machine is.
settings.register_profile("full", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same assertions over fewer examples, for `make unit`. Tests that want more say so as a multiple of the profile's.
settings.register_profile("quick", settings.get_profile("full"), max_examples=10)
settings.load_profile("full")
