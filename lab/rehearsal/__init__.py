"""The week rehearsed end to end, with the lab's own evidence beside the ledger's word."""
