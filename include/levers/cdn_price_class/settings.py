"""What a person may choose for one run of the price class."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from include.estate import Estate
from include.levers.edge_settings import EdgeSettings

BEST = "best"


class CdnSettings(EdgeSettings):
    """The settings of one run."""

    cdn_price_class: Literal["best", "PriceClass_All", "PriceClass_200", "PriceClass_100"] = Field(
        "best", description="best: the cheapest class within the latency limits. A class: try it, the gates judge it"
    )
    cdn_least_saving_usd: int = Field(1, ge=0, description="USD a month that another class must save to be taken")
    cdn_log_bucket: str = Field(min_length=3, description="S3 bucket of CloudFront's standard logs (v2)")
    cdn_log_prefix: str = Field(description="What the logs' keys begin with")
    cdn_log_days: int = Field(7, ge=1, le=90, description="How many days of logs give the viewers' shares")

    @classmethod
    def estate_defaults(cls, estate: Estate) -> dict[str, Any]:
        """Defaults of the fields that the estate decides."""
        cdn = estate.edge.cdn
        return {"cdn_log_bucket": cdn.log_bucket, "cdn_log_prefix": cdn.log_prefix}

    @property
    def only(self) -> str | None:
        """The class that a person insists on, None for the best one."""
        return None if self.cdn_price_class == BEST else self.cdn_price_class
