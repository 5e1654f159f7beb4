"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# Nothing here may depend on how busy the machine is.
settings.register_profile("forebay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forebay")
