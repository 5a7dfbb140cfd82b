"""CloudWatch as AWS answers it, where moto is laxer: percentiles, answers in the order of the queries, and the figures
of CloudFront and Lambda, which nobody puts there (:mod:`lab.cloud.figures`).

Points that a test has put for a metric are instead of the lab's figures of that metric.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lab.cloud import figures

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_PERIODS = (1, 5, 10, 30)  # seconds; any other period is a multiple of 60


def as_aws() -> None:
    """Repair moto's CloudWatch in this process; a second call changes nothing."""
    from moto.cloudwatch.models import CloudWatchBackend, Statistics

    if getattr(CloudWatchBackend, "as_aws", False):
        return
    CloudWatchBackend.as_aws = True  # type: ignore[attr-defined]
    known = Statistics.get_statistics_for_type
    Statistics.get_statistics_for_type = _with_percentiles(known)  # type: ignore[method-assign]
    CloudWatchBackend.get_metric_data = _answering(CloudWatchBackend.get_metric_data)  # type: ignore[method-assign]


def _with_percentiles(known: Callable[..., Any]) -> Callable[..., Any]:
    def statistic(self: Any, stat: str) -> Any:
        found = _PERCENTILE.fullmatch(stat)
        return percentile(_points(self), float(found[1])) if found else known(self, stat)

    return statistic


def _points(statistics: Any) -> list[float]:
    """Single values, and of a StatisticValues its extremes and its mean: what it knows of its values."""
    found = list(statistics.metric_single_values_list)
    for each in statistics.metric_aggregated_list:
        found += [each.min, each.max, *([each.sum / each.sample_count] * max(1, round(each.sample_count) - 2))]
    return sorted(found)


def percentile(points: Sequence[float], percent: float) -> float | None:
    """Between the two nearest points; ``points`` rise. None of none."""
    if not points:
        return None
    where = (len(points) - 1) * percent / 100
    low = int(where)
    high = min(low + 1, len(points) - 1)
    return points[low] + (points[high] - points[low]) * (where - low)


def _answering(answered: Callable[..., Any]) -> Callable[..., Any]:
    def get_metric_data(
        self: Any, queries: Sequence[Mapping[str, Any]], start_time: Any, end_time: Any, scan_by: str = ""
    ) -> list[dict[str, Any]]:
        _check_periods(queries)
        ours = {query["Id"] for query in queries if _is_ours(self, query)}
        rest = [query for query in queries if query["Id"] not in ours]
        begin, end = _aligned(start_time), _utc(end_time)
        if not rest and begin >= end:
            rest = list(queries)  # moto refuses that span in AWS's words
        found = answered(self, rest, start_time, end_time, scan_by) if rest else []
        made = [_figures(self, query, begin, end, scan_by) for query in queries if query["Id"] in ours]
        order = [query["Id"] for query in queries]
        return sorted([*found, *made], key=lambda result: order.index(result["id"]))

    return get_metric_data


def _check_periods(queries: Sequence[Mapping[str, Any]]) -> None:
    from moto.cloudwatch.exceptions import ValidationError

    for query in queries:
        period = int((query.get("MetricStat") or {"Period": 60})["Period"])
        if period not in _PERIODS and period % 60:
            raise ValidationError(f"The parameter Period must be 1, 5, 10, 30 or a multiple of 60, not {period}.")


def _is_ours(backend: Any, query: Mapping[str, Any]) -> bool:
    metric = (query.get("MetricStat") or {}).get("Metric")
    if not metric or metric["Namespace"] not in figures.NAMESPACES:
        return False
    wanted = _dimensions(metric)
    put = (
        one for one in backend.metric_data if (one.namespace, one.name) == (metric["Namespace"], metric["MetricName"])
    )
    return not any({d.name: d.value for d in one.dimensions} == wanted for one in put)


def _dimensions(metric: Mapping[str, Any]) -> dict[str, str]:
    return {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}


def _figures(backend: Any, query: Mapping[str, Any], begin: float, end: float, scan_by: str) -> dict[str, Any]:
    """One query's data points, as moto's own answer holds them."""
    stat = query["MetricStat"]
    points = list(_spans(backend.region_name, stat, begin, end))
    if scan_by != "TimestampAscending":
        points.reverse()
    return {
        "id": query["Id"],
        "label": query.get("Label") or f"{stat['Metric']['MetricName']} {stat['Stat']}",
        "values": [value for _, value in points],
        "timestamps": [dt.datetime.fromtimestamp(moment, dt.UTC).replace(tzinfo=None) for moment, _ in points],
        "status_code": "Complete",
    }


def _spans(region: str, stat: Mapping[str, Any], begin: float, end: float) -> Iterator[tuple[float, float]]:
    metric, period = stat["Metric"], int(stat["Period"])
    moment = begin
    while moment < end:
        where = (region, metric["Namespace"], metric["MetricName"], _dimensions(metric))
        measured = figures.sample(*where, moment, min(moment + period, end))
        if measured is not None:
            yield moment, measured.statistic(stat["Stat"])
        moment += period


def _utc(moment: dt.datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _aligned(moment: dt.datetime) -> float:
    """CloudWatch begins at the full minute."""
    return _utc(moment) // 60 * 60
