"""The week's levers in their order, the component of the bill that each acts on, and the plan's lines."""

from __future__ import annotations

CENTRAL_DC, CLOUDFRONT, LAMBDA_EDGE, JETSON = "central_dc", "cloudfront", "lambda_edge", "jetson"
S3, ROUTE_53, MONITORING, COST_PLATFORM = "s3", "route_53", "monitoring", "cost_platform"
COMPONENTS = (CENTRAL_DC, CLOUDFRONT, LAMBDA_EDGE, JETSON, S3, ROUTE_53, MONITORING, COST_PLATFORM)

SPOT, SCALING, SIZING, PACKING = "spot_capacity", "predictive_scaling", "right_sizing", "consolidation"
CDN, FUNCTIONS, STORAGE, DNS = "cdn_price_class", "lambda_edge", "storage_tiering", "dns_health_checks"
ROUTING, POWER, WATCH = "request_routing", "edge_power", "cost_monitoring"

# The seed's order, day by day.
WEEK = (SPOT, SCALING, CDN, FUNCTIONS, DNS, STORAGE, ROUTING, POWER, SIZING, PACKING, WATCH)
DAYS = {SPOT: 1, SCALING: 2, SIZING: 4, PACKING: 4, WATCH: 5}  # all others: day 3

# What a lever changes in a component depends on the other levers beside it here, and on none elsewhere.
GAMES: dict[str, tuple[str, ...]] = {
    CENTRAL_DC: (SPOT, SCALING, ROUTING, SIZING, PACKING),
    CLOUDFRONT: (CDN,),
    LAMBDA_EDGE: (FUNCTIONS,),
    JETSON: (ROUTING, POWER),
    S3: (STORAGE,),
    ROUTE_53: (DNS,),
    MONITORING: (),
    COST_PLATFORM: (WATCH,),
}
# The component that a person thinks of at a lever's name.
HOME = {lever: next(c for c, levers in GAMES.items() if lever in levers) for lever in WEEK} | {POWER: JETSON}


def day_of(lever: str) -> int:
    """The day of the week on which a lever is rolled out."""
    return DAYS.get(lever, 3)
