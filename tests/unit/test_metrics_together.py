"""What several processes count, told as one."""

from prometheus_client.parser import text_string_to_metric_families

from api.metrics_together import added_up

ONE = b"""\
# HELP stockledger_commands_total Commands decided
# TYPE stockledger_commands_total counter
stockledger_commands_total 3.0
# HELP stockledger_http_requests_total Requests answered
# TYPE stockledger_http_requests_total counter
stockledger_http_requests_total{method="GET",route="/a",status="200"} 2.0
# HELP stockledger_commit_seconds Time
# TYPE stockledger_commit_seconds histogram
stockledger_commit_seconds_bucket{le="0.1"} 1.0
stockledger_commit_seconds_bucket{le="+Inf"} 2.0
stockledger_commit_seconds_count 2.0
stockledger_commit_seconds_sum 0.5
# HELP stockledger_projection_lag_positions Positions
# TYPE stockledger_projection_lag_positions gauge
stockledger_projection_lag_positions{projection="sales"} 7.0
# HELP process_start_time_seconds Start
# TYPE process_start_time_seconds gauge
process_start_time_seconds 100.0
"""
OTHER = (
    ONE.replace(b"total 3.0", b"total 4.0")
    .replace(b'route="/a"', b'route="/b"')
    .replace(b"seconds 100.0", b"seconds 90.0")
    .replace(b'"sales"} 7.0', b'"sales"} 900.0')
)


def _samples(text: bytes) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_are_added_and_what_the_database_tells_is_not() -> None:
    """Counters, buckets and sums add up; the lag, which all read in one place, is as just read."""
    found = _samples(added_up([ONE, OTHER]))
    assert found["stockledger_commands_total", ""] == 7
    assert found["stockledger_http_requests_total", "GET,/a,200"] == 2
    assert found["stockledger_http_requests_total", "GET,/b,200"] == 2
    assert found["stockledger_commit_seconds_bucket", "+Inf"] == 4
    assert found["stockledger_commit_seconds_bucket", "0.1"] == 2
    assert found["stockledger_commit_seconds_sum", ""] == 1
    assert found["stockledger_projection_lag_positions", "sales"] == 7
    assert found["process_start_time_seconds", ""] == 90


def test_one_process_alone_is_told_as_it_is() -> None:
    """Adding up nothing else changes no figure."""
    assert _samples(added_up([ONE])) == _samples(ONE)
