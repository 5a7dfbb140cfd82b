"""Prometheus text: forecasts, versions, and how requests were answered."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from include.forecast.gauges import CONFIDENT, DURATION, FORECAST, GENERATED, MEDIAN, MODEL_INFO, REQUESTS, UPPER
from include.forecast.server.champions import ServedChampion
from include.forecast.server.forecaster import Forecast

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEADS = {
    FORECAST: ("gauge", "Forecast QPS of a region, horizon in minutes after the last minute seen."),
    GENERATED: ("gauge", "End of the last minute that the forecast has seen, Unix seconds."),
    CONFIDENT: ("gauge", "1 when the forecast is sure enough to act on, else 0."),
    MODEL_INFO: ("gauge", "The champion that is served."),
    REQUESTS: ("counter", "Requests by path and status."),
    DURATION: ("histogram", "Seconds from the request's arrival to the end of its answer."),
}


@dataclass
class RequestCounts:
    """Counts of the answers; only the event loop writes them."""

    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    buckets: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self.answers[path, status] = self.answers.get((path, status), 0) + 1
        counts = self.buckets.setdefault(path, [0] * (len(BUCKETS) + 1))
        counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.seconds[path] = self.seconds.get(path, 0.0) + seconds

    def lines(self) -> Iterable[str]:
        """The counter, then the histogram."""
        yield from head(REQUESTS)
        for (path, status), count in sorted(self.answers.items()):
            yield f"{REQUESTS}{labels(path=path, code=str(status))} {count}"
        yield from head(DURATION)
        for path, counts in sorted(self.buckets.items()):
            total = 0
            for edge, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                yield f"{DURATION}_bucket{labels(path=path, le=edge)} {total}"
            yield f"{DURATION}_sum{labels(path=path)} {self.seconds[path]!r}"
            yield f"{DURATION}_count{labels(path=path)} {total}"


def head(name: str) -> Iterable[str]:
    """What comes before the samples of a metric."""
    kind, text = HEADS[name]
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def labels(**values: str) -> str:
    """A label set; values are escaped."""
    pairs = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34)).replace(chr(10), " ")}"'
        for name, value in values.items()
    )
    return "{" + ",".join(pairs) + "}"


def exposition(
    forecasts: Mapping[str, Forecast | None], champions: Mapping[str, ServedChampion | None], requests: RequestCounts
) -> str:
    """The text of ``/metrics``: a region without a fresh forecast has no gauge at all."""
    fresh = {region: forecast for region, forecast in sorted(forecasts.items()) if forecast}
    lines = [*head(FORECAST)]
    for region, forecast in fresh.items():
        for quantile, values in ((MEDIAN, forecast.p50), (UPPER, forecast.p90)):
            for minute, value in enumerate(values, 1):
                lines.append(f"{FORECAST}{labels(region=region, horizon=str(minute), quantile=quantile)} {value!r}")
    lines += head(GENERATED)
    lines += [f"{GENERATED}{labels(region=region)} {forecast.seen_until!r}" for region, forecast in fresh.items()]
    lines += head(CONFIDENT)
    lines += [f"{CONFIDENT}{labels(region=region)} {int(not forecast.doubt)}" for region, forecast in fresh.items()]
    lines += head(MODEL_INFO)
    # While there is a forecast, the version that made it: forecast_watch judges each version by its own.
    versions = {region: (one.version, one.manifest.model) for region, one in sorted(champions.items()) if one}
    versions |= {region: (forecast.version, forecast.model) for region, forecast in fresh.items()}
    for region, (version, model) in versions.items():
        lines.append(f"{MODEL_INFO}{labels(region=region, version=version, model=model)} 1")
    return "\n".join([*lines, *requests.lines(), ""])
