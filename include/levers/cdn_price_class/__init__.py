"""CloudFront's price class, chosen by dollars under latency limits."""

from include.levers.cdn_price_class.lever import SLOT, CdnPriceClass
from include.levers.cdn_price_class.settings import CdnSettings

__all__ = ["SLOT", "CdnPriceClass", "CdnSettings"]
