"""Where a server keeps its objects: the contract, a durable store, and one in memory for tests and experiments."""

from fivefold.storage.backup import BACKUP_NAME, BackupFile, Copied, Run
from fivefold.storage.contract import HeardPage, Loaded, OnDurable, Storage, page_of, size_of
from fivefold.storage.filling import fill_data, imported_into, is_filled
from fivefold.storage.guard import DATABASE_NAME, RECORD_NAME, open_data
from fivefold.storage.inspector import Inspector
from fivefold.storage.memory import MemoryStorage
from fivefold.storage.schema import DamagedRecord
from fivefold.storage.sqlite import SqliteStorage
from fivefold.storage.usage import Usage, usage_of

__all__ = [
    "BACKUP_NAME",
    "DATABASE_NAME",
    "RECORD_NAME",
    "BackupFile",
    "Copied",
    "DamagedRecord",
    "HeardPage",
    "Inspector",
    "Loaded",
    "MemoryStorage",
    "OnDurable",
    "Run",
    "SqliteStorage",
    "Storage",
    "Usage",
    "fill_data",
    "imported_into",
    "is_filled",
    "open_data",
    "page_of",
    "size_of",
    "usage_of",
]
