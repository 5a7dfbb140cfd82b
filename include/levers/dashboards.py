"""Grafana dashboards out of panels that a manifest describes; equal panels give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.manifests import filled

REGION, ESTATE = "region", "estate"  # what a query needs: one region's series, or those of all regions


@dataclass(frozen=True)
class Query:
    """One query of a panel. ``scope``: REGION gives a series with the label region, ESTATE needs every region."""

    expression: str
    legend: str
    scope: str = REGION


@dataclass(frozen=True)
class PanelSpec:
    """One panel: ``unit`` is Grafana's name of it, ``note`` what a reader must know of the figures."""

    title: str
    unit: str
    note: str
    queries: tuple[Query, ...]


def panels_of(path: str, values: Mapping[str, str]) -> list[PanelSpec]:
    """The panels of a file below include/manifests, with its ``${...}`` filled in."""
    return [_spec(raw) for raw in filled(path, values)]


def _spec(raw: Mapping[str, Any]) -> PanelSpec:
    asked = (Query(q["expr"], q["legend"], ESTATE if q.get("estate") else REGION) for q in raw["queries"])
    return PanelSpec(raw["title"], raw["unit"], raw["note"], tuple(asked))


def board_json(title: str, uid: str, tags: Sequence[str], panels: Sequence[PanelSpec]) -> str:
    """The dashboard as Grafana's sidecar or provisioning loads it; sorted keys, no clock, no ids of an instance."""
    # A second of imports that a DAG's parse must not pay.
    from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    source = DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    board = Dashboard(title).uid(uid).tags([*tags]).timezone("utc").refresh("1m").time("now-7d", "now")
    board = board.readonly().with_variable(source)
    for place, spec in enumerate(panels):
        board = board.with_panel(_panel(spec, place))
    return str(JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(board.build())) + "\n"


def _panel(spec: PanelSpec, place: int) -> Any:
    from grafana_foundation_sdk.builders import prometheus, timeseries
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

    source = DataSourceRef(type_val="prometheus", uid="${datasource}")
    panel = timeseries.Panel().title(spec.title).description(spec.note).unit(spec.unit).datasource(source)
    # No data shows as such: a line drawn over a gap, or a zero, would be an invented figure.
    panel = panel.no_value("unknown").id(place + 1).grid_pos(GridPos(h=8, w=12, x=12 * (place % 2), y=8 * (place // 2)))
    for letter, query in zip("ABCDEFGH", spec.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expression).legend_format(query.legend)
        panel = panel.with_target(target.datasource(source))
    return panel
