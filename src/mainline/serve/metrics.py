"""What `/metrics` tells Prometheus. Every label has a fixed, small set of values."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

ARMS = ("stable", "canary", "shadow")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one process, or of all workers where PROMETHEUS_MULTIPROC_DIR is set."""

    def __init__(self, name: str, version: str, digest: str) -> None:
        # Chooses how values are kept when it is imported, so not before the service starts.
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._many = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._registry = prometheus.CollectorRegistry()
        counter = partial(prometheus.Counter, registry=self._registry)
        histogram = partial(prometheus.Histogram, registry=self._registry)
        gauge = partial(prometheus.Gauge, registry=self._registry, multiprocess_mode="livesum")
        self.requests = counter(
            "mainline_requests", "Answered requests.", ("route", "status", "arm")
        )
        self.seconds = histogram(
            "mainline_predict_seconds", "Time to answer /predict.", ("arm",), buckets=BUCKETS
        )
        self.rows = counter("mainline_rows", "Rows that were scored.", ("arm",))
        self.batch = histogram(
            "mainline_batch_rows", "Rows scored in one call.", buckets=(1, 2, 5, 10, 50, 200, 1000)
        )
        self.logged = gauge(
            "mainline_log_records", "Log records, by what became of them.", ("outcome",)
        )
        self.waiting = gauge("mainline_waiting_rows", "Rows that wait to be scored.")
        labels = ("model", "version", "digest")
        info = gauge("mainline_model_info", "The model that is served; one a worker.", labels)
        info.labels(name, version, digest).set(1)

    def answered(self, route: str, status: int, arm: str) -> None:
        """Count one answer; `route` is one of the service's own paths or `other`."""
        self.requests.labels(route, str(status), arm).inc()

    @property
    def kind(self) -> str:
        """The media type of `/metrics`."""
        return str(self._prometheus.CONTENT_TYPE_LATEST)

    def render(self, refresh: Callable[[Metrics], None]) -> bytes:
        """The text of `/metrics`, after `refresh` has set the gauges."""
        refresh(self)
        registry = self._registry
        if self._many:
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = self._prometheus.CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return bytes(self._prometheus.generate_latest(registry))
