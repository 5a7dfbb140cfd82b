"""The one cost table: its columns, where it lies, and what is computed from its rows alone."""
