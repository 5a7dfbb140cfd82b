"""Non-production namespaces to zero outside their hours, and back before them."""

from include.levers.nonprod_hours.lever import NonprodHours

__all__ = ["NonprodHours"]
