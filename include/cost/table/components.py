"""Which component of the plan a row of the cost table belongs to: rules of the estate as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.cost.table.columns import CostError
from include.cost.table.sql import literal
from include.estate import ComponentRule, Estate

UNALLOCATED = "unallocated"
CENTRAL_DC, JETSON = "central_dc", "jetson"  # the components that are measured live too


def component_sql(estate: Estate) -> str:
    """An SQL expression over COLUMNS and ``source`` (VARCHAR): the component's name, or ``unallocated``."""
    cases = " ".join(f"WHEN {sql} THEN {literal(name)}" for name, sql in _conditions(estate).items())
    return f"CASE {cases} ELSE '{UNALLOCATED}' END"


def matches_sql(estate: Estate) -> str:
    """An SQL expression over COLUMNS and ``source``: how many components a row matches."""
    return " + ".join(f"CAST({sql} AS INTEGER)" for sql in _conditions(estate).values())


def check_components(connection: Any, relation: str, estate: Estate) -> None:
    """Raise CostError when a row of ``relation`` (COLUMNS and ``source``) matches two components, naming both."""
    row = connection.execute(
        f"SELECT source, ServiceName, SkuMeter, ResourceId, x_SourceFile, x_SourceRow, {_names_sql(estate)} "
        f"FROM {relation} WHERE {matches_sql(estate)} > 1 ORDER BY x_SourceFile, x_SourceRow LIMIT 1"
    ).fetchone()
    if row:
        source, service, meter, resource, file, number, names = row
        raise CostError(
            f"{file} row {number} ({source}, {service}, {meter}, {resource}) matches the components "
            f"{' and '.join(names)}: make the rules of cost.components in the estate's file exclude each other"
        )


def _names_sql(estate: Estate) -> str:
    names = ", ".join(f"CASE WHEN {sql} THEN {literal(name)} END" for name, sql in _conditions(estate).items())
    return f"list_filter([{names}], lambda name: name IS NOT NULL)"


def _conditions(estate: Estate) -> dict[str, str]:
    return {
        name: "(" + " OR ".join(_rule(rule) for rule in component.rules) + ")"
        for name, component in estate.cost.components.items()
    }


def _rule(rule: ComponentRule) -> str:
    parts = []
    if rule.sources:
        parts.append(f"source IN {_list(rule.sources)}")
    if rule.services:
        parts.append(f"lower(ServiceName) IN {_list([service.lower() for service in rule.services])}")
    for column, patterns in (("ResourceId", rule.resources), ("SkuMeter", rule.skus)):
        if patterns:
            parts.append("(" + " OR ".join(_like(column, pattern) for pattern in patterns) + ")")
    parts += [_tag(key, value) for key, value in rule.tags.items()]
    # A null column matches nothing; three-valued logic must not leak into sums.
    return f"coalesce({' AND '.join(parts)}, FALSE)"


def _like(column: str, pattern: str) -> str:
    if "*" not in pattern:
        return f"{column} = {literal(pattern)}"
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    return f"{column} LIKE {literal(escaped)} ESCAPE '\\'"


def _tag(key: str, value: str) -> str:
    path = '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"json_extract_string(Tags, {literal(path)}) = {literal(value)}"


def _list(values: Sequence[str]) -> str:
    return f"({', '.join(literal(value) for value in values)})"
