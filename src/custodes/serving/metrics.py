"""Counts of the match service, for Prometheus: requests and verdicts, of all tenants together. No tenant, list or digest has a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """A registry of its own: what other code counts in this process is not told."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "custodes_serve_requests", "Requests answered", ["route", "status"], registry=self._registry
        )
        self._verdicts = Counter("custodes_serve_verdicts", "Items judged", ["verdict"], registry=self._registry)

    def answered(self, route: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()

    def judged(self, verdicts: Sequence[str]) -> None:
        """Items got these verdicts."""
        for verdict in set(verdicts):
            self._verdicts.labels(verdict).inc(verdicts.count(verdict))

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A figure that is looked up when it is asked for."""
        Gauge(f"custodes_serve_{name}", what, registry=self._registry).set_function(value)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """``GET /metrics``, on a port of its own."""
        if http.raw_path != "/metrics" or http.method != "GET":
            return web.Response(status=404)
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
