"""Settings of every test: property tests draw the same examples each time, and no deadline stops them on a busy machine."""

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.oracles")
settings.register_profile("linalign", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("linalign")
