"""Settings of Hypothesis."""

from hypothesis import HealthCheck, settings


def fuzzed(max_examples):
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        derandomize=True, deadline=None, database=None, max_examples=max_examples, suppress_health_check=health
    )
