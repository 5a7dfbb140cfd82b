"""Nodes: which pods they take, who depends on them, how many there must be, and how they are taken out of service."""
