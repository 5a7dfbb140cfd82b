"""Provider exports (FOCUS 1.0-1.2, CUR 2.0, legacy CUR) into partitions of the cost table."""

from include.cost.sources.exports.collect import collect
from include.cost.sources.exports.collected import Collected
from include.cost.sources.exports.delivery import Delivery, deliveries, download
from include.cost.sources.exports.downloads import Relation
from include.cost.sources.exports.source import Format, SourceFile

__all__ = [
    "Collected",
    "Delivery",
    "Format",
    "Relation",
    "SourceFile",
    "collect",
    "deliveries",
    "download",
]
