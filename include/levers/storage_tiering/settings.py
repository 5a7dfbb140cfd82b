"""What a person may choose for one run of the storage-tiering lever."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from include.levers.edge_settings import EdgeSettings
from include.levers.world import World as AnyWorld


class StorageSettings(EdgeSettings):
    """Age and number of what stays, and what is assumed of the rest."""

    # 30 is also the least that S3 takes for STANDARD_IA.
    models_older_than_days: int = Field(30, ge=30, le=3650, description="Days that a version stays as it is")
    models_keep_versions: int = Field(3, ge=3, le=100, description="Last versions of each region that stay as they are")
    models_also_keep: tuple[Annotated[str, Field(pattern=r"^\d{6}-[0-9a-f]{12}$")], ...] = Field(
        (), description="More versions that stay as they are, such as 000003-0f3b9c1d2e4a"
    )
    models_remaining_days: int = Field(365, ge=1, le=36500, description="Days that an old version is kept from now on")
    # ASSUMPTION: one byte in a hundred a month.
    models_retrieved_share_month: Decimal = Field(
        Decimal("0.01"), ge=0, le=1000, description="Share of the moved bytes that is read a month, 0.01 is 1 %"
    )
    models_metrics_filter: str = Field(
        "", max_length=64, description="S3 request metrics filter whose BytesDownloaded tells that share instead"
    )
    models_longest_restore_hours: int = Field(
        12, ge=0, le=48, description="Longest time until a version that never was champion can be read again, in hours"
    )


World = AnyWorld[StorageSettings]
