"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from steersman.model.live import Live

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counts of one server.

    Args:
        live: what answers.
    """

    def __init__(self, live: Live) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "steersman_requests",
            "Requests answered, by path and status of HTTP.",
            ["path", "status"],
            registry=self.registry,
        )
        self.steered = Counter("steersman_steered", "Requests that asked for steering.", registry=self.registry)
        self.abandoned = Counter("steersman_abandoned", "Requests whose client left.", registry=self.registry)
        self.tokens = Counter("steersman_tokens", "Tokens read and written.", ["kind"], registry=self.registry)
        self.seconds = Histogram(
            "steersman_request_seconds", "From arrival to the end, s.", buckets=SECONDS, registry=self.registry
        )
        self.first = Histogram(
            "steersman_first_token_seconds", "From arrival to the first token, s.", buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        running = Gauge("steersman_running", "Answers that have a place.", registry=self.registry)
        waiting = Gauge("steersman_waiting", "Answers that wait for a place.", registry=self.registry)
        running.set_function(lambda: live.load[0])
        waiting.set_function(lambda: live.load[1])

    @property
    def text(self) -> bytes:
        """All counts, as Prometheus reads them."""
        return generate_latest(self.registry)
