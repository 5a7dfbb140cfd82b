"""One page of metrics out of those of several devices: each metric once, with its type."""

from __future__ import annotations

from collections.abc import Sequence


def page(texts: Sequence[str]) -> str:
    """The series of all devices in Prometheus' text format, grouped by metric."""
    found: dict[str, list[str]] = {}
    for line in (line for text in texts for line in text.splitlines() if line and not line.startswith("#")):
        found.setdefault(line.partition("{")[0].partition(" ")[0], []).append(line)
    lines: list[str] = []
    for name, series in found.items():
        lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", *series]
    return "\n".join(lines) + "\n"
