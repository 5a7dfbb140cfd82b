"""The storage-tiering lever: models that nobody loads go to a cheaper storage class of S3 where that pays."""

from include.levers.storage_tiering.lever import StorageTiering
from include.levers.storage_tiering.settings import StorageSettings

__all__ = ["StorageSettings", "StorageTiering"]
