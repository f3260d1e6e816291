"""What `/metrics` tells Prometheus. Every label has a fixed, small set of values."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

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
        became = "by what became of them."
        self.logged = counter("mainline_log_records", f"Predictions to log, {became}", ("outcome",))
        self.log_waiting = gauge("mainline_log_waiting_records", "Predictions yet to be written.")
        self.labels = counter("mainline_label_records", f"Labels to write, {became}", ("outcome",))
        self.labels_waiting = gauge("mainline_label_waiting_records", "Labels yet to be written.")
        self.feedback = counter(
            "mainline_feedback_labels", "Labels that came by feedback.", ("outcome", "id", "time")
        )
        self.beyond_soft = counter(
            "mainline_soft_limit_rows", "Rows with a value beyond a soft limit of the schema."
        )
        self._told: dict[tuple[object, tuple[str, ...]], int] = {}
        self.waiting = gauge("mainline_waiting_rows", "Rows that wait to be scored.")
        labels = ("model", "version", "digest")
        info = gauge("mainline_model_info", "The model that is served; one a worker.", labels)
        info.labels(name, version, digest).set(1)
        # To look a child up by its labels costs as much as to count.
        self._answered: dict[tuple[str, int, str], Any] = {}
        self._arms: dict[str, tuple[Any, Any]] = {}

    def answered(self, route: str, status: int, arm: str) -> None:
        """Count one answer; `route` is one of the service's own paths or `other`."""
        key = (route, status, arm)
        child = self._answered.get(key)
        if child is None:
            child = self._answered[key] = self.requests.labels(route, str(status), arm)
        child.inc()

    def predicted(self, arm: str, rows: int, seconds: float, beyond_soft: int) -> None:
        """Count the rows of one answered request and how long it took."""
        if arm not in self._arms:
            self._arms[arm] = (self.seconds.labels(arm), self.rows.labels(arm))
        duration, count = self._arms[arm]
        duration.observe(seconds)
        count.inc(rows)
        if beyond_soft:
            self.beyond_soft.inc(beyond_soft)

    def reach(self, counter: Any, labels: tuple[str, ...], total: int) -> None:
        """Bring a counter to `total`, where something else does the counting in this process."""
        told = self._told.get((counter, labels), 0)
        counter.labels(*labels).inc(max(0, total - told))
        self._told[counter, labels] = max(told, total)

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
