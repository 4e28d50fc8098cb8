"""Prometheus metrics of requests and generations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.door.users import UserTotals
from pellucid.engine.status import WorkerStatus
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.token import Token

Statuses = Callable[[], Mapping[str, WorkerStatus]]

_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 30.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)

UNKNOWN_MODEL = "unknown"
"""The label of suggestions by an unknown or unnamed model."""

MAX_REPORTS = 10_000
"""Number of remembered reports of suggestions, so that a repeated report does not count again."""


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = "Answered HTTP requests, by route and status."
        self._requests = Counter("pellucid_requests", requests, ["route", "status"], registry=self.registry)
        self.ends = Counter(
            "pellucid_generations", "Ended generations, by reason.", ["model", "reason"], registry=self.registry
        )
        self.first_token_seconds = Histogram(
            "pellucid_time_to_first_token_seconds",
            "Time from a request to its first token, in seconds.",
            ["model"],
            buckets=_FIRST_TOKEN_SECONDS,
            registry=self.registry,
        )
        self.token_seconds = Histogram(
            "pellucid_time_per_token_seconds",
            "Time between consecutive tokens of an answer, in seconds.",
            ["model"],
            buckets=_TOKEN_SECONDS,
            registry=self.registry,
        )
        self._shown = Counter(
            "pellucid_suggestions_shown", "Suggestions that clients have shown.", ["model"], registry=self.registry
        )
        accepted = "Suggestions that users have accepted, in whole or in part."
        self._accepted = Counter("pellucid_suggestions_accepted", accepted, ["model"], registry=self.registry)
        self._reports: OrderedDict[int, None] = OrderedDict()

    def watch_models(self, statuses: Statuses) -> None:
        """Export each model's current status at every read of the metrics."""
        self.registry.register(_ModelCollector(statuses))

    def watch_engines(self, engines: Callable[[], Sequence[EngineMetrics]]) -> None:
        """Export the remote engines' current state at every read of the metrics."""
        self.registry.register(_EngineCollector(engines))

    def watch_users(self, users: Callable[[], Mapping[str, UserTotals]]) -> None:
        """Export each named user's usage at every read of the metrics."""
        self.registry.register(_UserCollector(users))

    def count_request(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def count_suggestions(self, model: str, *, shown: int = 0, accepted: int = 0, report: Hashable = None) -> bool:
        """Count shown and accepted suggestions.

        Return False, and count nothing, if ``report`` was counted lately.
        """
        if report is not None:
            key = hash(report)  # A hash, because clients choose the report's length
            if key in self._reports:
                return False
            self._reports[key] = None
            if len(self._reports) > MAX_REPORTS:
                self._reports.popitem(last=False)
        self._shown.labels(model).inc(shown)
        self._accepted.labels(model).inc(accepted)
        return True

    def timer(self, model: str, clock: Callable[[], float], *, reads: bool = False) -> GenerationTimer:
        """Return a timer for a generation that starts now.

        With ``reads``, the tokens are a prompt's.
        """
        return GenerationTimer(self, model, clock, reads=reads)

    def response(self) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class GenerationTimer:
    """Observes the times of a generation's tokens.

    As a context manager, the timer counts the reason of the end.
    """

    def __init__(self, metrics: Metrics, model: str, clock: Callable[[], float], *, reads: bool = False) -> None:
        self._metrics = metrics
        self._model = model
        self._clock = clock
        self._reads = reads
        self._last = clock()
        self._begun = False
        self._reason = FinishReason.CANCELLED  # Default reason

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.ends.labels(self._model, self._reason).inc()

    def note(self, item: Token | Finish) -> None:
        """Observe a new item; tokens of a prompt are not timed."""
        if isinstance(item, Finish):
            self._reason = item.reason
        elif not self._reads:
            now = self._clock()
            seconds = self._metrics.token_seconds if self._begun else self._metrics.first_token_seconds
            seconds.labels(self._model).observe(now - self._last)
            self._last, self._begun = now, True


class _ModelCollector(Collector):
    def __init__(self, statuses: Statuses) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(f"pellucid_{name}", about, labels=["model"])
            for name, about in (
                ("running", "Running sequences, each of which has a slot."),
                ("waiting", "Requests waiting for a slot."),
                ("slots", "Slots in the KV cache."),
                ("cache_bytes", "Memory used by the tokens in the KV cache, in bytes."),
                ("cache_limit_bytes", "Maximum memory of the KV cache, in bytes."),
                ("parked_bytes", "Memory used by parked prefixes, in bytes."),
                ("parked_limit_bytes", "Maximum memory for parked prefixes, in bytes."),
            )
        }
        tokens = CounterMetricFamily(
            "pellucid_tokens",
            "Tokens by kind: cached (prompt tokens read from the cache), computed (prompt tokens computed), generated, "
            "guessed (drafted from earlier text) and right (drafted tokens that were accepted).",
            labels=["model", "kind"],
        )
        for model, status in self._statuses().items():
            for kind in ("cached", "computed", "generated", "guessed", "right"):
                tokens.add_metric([model, kind], getattr(status.totals, kind))
            families["running"].add_metric([model], status.running)
            families["waiting"].add_metric([model], status.waiting)
            families["slots"].add_metric([model], len(status.slots))
            families["cache_bytes"].add_metric([model], status.cache_bytes)
            families["cache_limit_bytes"].add_metric([model], status.cache_limit)
            families["parked_bytes"].add_metric([model], status.parked_bytes)
            families["parked_limit_bytes"].add_metric([model], status.parked_limit)
        return [*families.values(), tokens]


class EngineMetrics(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def state(self) -> str:
        """``ready`` if the engine takes part."""
        ...

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def lost(self) -> int: ...


class _EngineCollector(Collector):
    def __init__(self, engines: Callable[[], Sequence[EngineMetrics]]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily(
            "pellucid_engine_ready", "1 for a remote engine that takes part, otherwise 0.", labels=["engine"]
        )
        running = GaugeMetricFamily(
            "pellucid_engine_running", "Requests running on a remote engine.", labels=["engine"]
        )
        waiting = GaugeMetricFamily(
            "pellucid_engine_waiting", "Requests waiting for a remote engine.", labels=["engine"]
        )
        lost = CounterMetricFamily(
            "pellucid_engine_lost", "Requests that were lost with an engine, resumed or not.", labels=["engine"]
        )
        for one in self._engines():
            ready.add_metric([one.url], one.state == "ready")
            running.add_metric([one.url], one.running)
            waiting.add_metric([one.url], one.waiting)
            lost.add_metric([one.url], one.lost)
        return [ready, running, waiting, lost]


class _UserCollector(Collector):
    def __init__(self, users: Callable[[], Mapping[str, UserTotals]]) -> None:
        self._users = users

    def collect(self) -> Iterable[Metric]:
        families = {
            name: CounterMetricFamily(f"pellucid_user_{name}", about, labels=["user"])
            for name, about in (
                ("requests", "Requests of a user that used a model."),
                ("refused", "Requests that a limit of the user refused."),
                ("prompt_tokens", "Tokens of a user's prompts, those that the cache had included."),
                ("cached_tokens", "Tokens of a user's prompts that the cache had."),
                ("generated_tokens", "Tokens that were generated for a user."),
            )
        }
        for user, totals in self._users().items():
            counts = (totals.requests, totals.refused, totals.prompt, totals.cached, totals.generated)
            for family, count in zip(families.values(), counts, strict=True):
                family.add_metric([user], count)
        return families.values()


class RequestCounter:
    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            # Only route patterns, because labels for arbitrary paths would be unlimited.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.count_request(route, status)
