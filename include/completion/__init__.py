"""The completion report of the week: what was promised, what the ledger proves, and what it saves."""
