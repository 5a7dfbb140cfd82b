"""The validation of a window: every component of the bill against its own target."""
