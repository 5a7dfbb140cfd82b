"""Cost truth: a FOCUS-shaped ledger of every dollar, and what is computed from it."""
