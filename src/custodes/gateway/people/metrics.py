"""Counts of the gateway, for Prometheus: of all tenants together. No prompt, no image, and no name of a tenant, user, rule or list is a label."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from custodes.gateway.people.ledger import FAULT, Consequence
from custodes.gateway.vocabulary import Action, Stage, Verdict

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """A registry of its own: what other code counts in this process is not told."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered", "route", "status")
        self._decisions = self._counter("decisions", "Decisions by the rules", "stage", "action", "grade", "category")
        self._unable = self._counter("unable", "Decisions that withheld because a check was broken", "stage")
        self._denied = self._counter("denied", "Requests turned away before anything was judged", "why")
        self._upstream = self._counter("upstream_errors", "Generators that did not answer as they should")
        self._people = self._counter("consequences", "What strikes led to", "what")
        self._cancelled = self._counter("cancelled", "Requests ended because of another of the same user")
        self._seconds = Histogram(
            "custodes_gateway_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self._registry
        )

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"custodes_gateway_{name}", what, labels, registry=self._registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route``: as it is declared, never a path that somebody sent."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def decided(self, stage: Stage, verdict: Verdict, consequence: Consequence) -> None:
        """The rules decided, and this came of it."""
        if verdict.rule == FAULT:
            self._unable.labels(stage.value).inc()
            return
        stops = verdict.action in (Action.REFUSE, Action.WITHHOLD)
        category = verdict.category.value if stops else ""
        self._decisions.labels(stage.value, verdict.action.value, verdict.grade.value, category).inc()
        for what in ("struck", "warned", "suspended", "tenant_warned", "tenant_suspended"):
            if getattr(consequence, what):
                self._people.labels(what).inc()

    def denied(self, why: str) -> None:
        """A request was turned away."""
        self._denied.labels(why).inc()

    def upstream_failed(self) -> None:
        """The generator did not answer as it should."""
        self._upstream.inc()

    def cancelled(self, requests: int) -> None:
        """So many were ended because of another."""
        self._cancelled.inc(requests)

    def watch_withheld(self, unqueued: Callable[[], int]) -> None:
        """Withheld images that are to be handed over and that the outbox has not yet. What waits in the outbox is told by `custodes handover status`."""
        gauge = Gauge(
            "custodes_gateway_withheld_unqueued", "Withheld images noted and not queued", registry=self._registry
        )
        gauge.set_function(unqueued)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """``GET /metrics``, on a port of its own."""
        if http.raw_path != "/metrics" or http.method != "GET":
            return web.Response(status=404)
        return web.Response(body=self.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
