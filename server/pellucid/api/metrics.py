"""Prometheus metrics of requests and generations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.api.engine_status import EngineStatus
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
        self.registry.register(_ModelSamples("model", statuses, _OF_MODELS))

    def watch_engines(self, engines: Callable[[], Sequence[EngineStatus]]) -> None:
        """Export the remote engines' current state at every read of the metrics."""
        self.registry.register(_Samples("engine", lambda: {one.url: one for one in engines()}, _OF_ENGINES))

    def watch_users(self, users: Callable[[], Mapping[str, UserTotals]]) -> None:
        """Export each named user's usage at every read of the metrics."""
        self.registry.register(_Samples("user", users, _OF_USERS))

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

    def __exit__(self, *_: object) -> None:
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


_Gauge, _Counter = GaugeMetricFamily, CounterMetricFamily
_Watched = tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], str, str, Callable[[Any], float]]
"""The type of a metric, the name, the description, and the value of an item."""

_OF_MODELS: Sequence[_Watched] = (
    (_Gauge, "running", "Running sequences, each of which has a slot.", lambda one: one.running),
    (_Gauge, "waiting", "Requests waiting for a slot.", lambda one: one.waiting),
    (_Gauge, "slots", "Slots in the KV cache.", lambda one: len(one.slots)),
    (_Gauge, "cache_bytes", "Memory used by the tokens in the KV cache, in bytes.", lambda one: one.cache_bytes),
    (_Gauge, "cache_limit_bytes", "Maximum memory of the KV cache, in bytes.", lambda one: one.cache_limit),
    (_Gauge, "parked_bytes", "Memory used by parked prefixes, in bytes.", lambda one: one.parked_bytes),
    (_Gauge, "parked_limit_bytes", "Maximum memory for parked prefixes, in bytes.", lambda one: one.parked_limit),
)

_OF_ENGINES: Sequence[_Watched] = (
    (_Gauge, "engine_ready", "1 for a remote engine that takes part, otherwise 0.", lambda one: one.state == "ready"),
    (_Gauge, "engine_running", "Requests running on a remote engine.", lambda one: one.running),
    (_Gauge, "engine_waiting", "Requests waiting for a remote engine.", lambda one: one.waiting),
    (_Counter, "engine_lost", "Requests that were lost with an engine, resumed or not.", lambda one: one.lost),
)

_OF_USERS: Sequence[_Watched] = (
    (_Counter, "user_requests", "Requests of a user that used a model.", lambda one: one.requests),
    (_Counter, "user_refused", "Requests that a limit of the user refused.", lambda one: one.refused),
    (
        _Counter,
        "user_prompt_tokens",
        "Tokens of a user's prompts, those that the cache had included.",
        lambda one: one.prompt,
    ),
    (_Counter, "user_cached_tokens", "Tokens of a user's prompts that the cache had.", lambda one: one.cached),
    (_Counter, "user_generated_tokens", "Tokens that were generated for a user.", lambda one: one.generated),
)


class _Samples(Collector):
    """Metrics with a sample for each item, computed at every read."""

    def __init__(self, label: str, read: Callable[[], Mapping[str, Any]], metrics: Sequence[_Watched]) -> None:
        self._label = label
        self._read = read
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        items = self._read()
        for family_of, name, about, value in self._metrics:
            family = family_of(f"pellucid_{name}", about, labels=[self._label])
            for key, item in items.items():
                family.add_metric([key], value(item))
            yield family


class _ModelSamples(_Samples):
    def collect(self) -> Iterator[Metric]:
        yield from super().collect()
        tokens = CounterMetricFamily(
            "pellucid_tokens",
            "Tokens by kind: cached (prompt tokens read from the cache), computed (prompt tokens computed), generated, "
            "guessed (drafted from earlier text) and right (drafted tokens that were accepted).",
            labels=["model", "kind"],
        )
        for model, status in self._read().items():
            for kind in ("cached", "computed", "generated", "guessed", "right"):
                tokens.add_metric([model, kind], getattr(status.totals, kind))
        yield tokens


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
