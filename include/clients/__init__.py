"""Thin clients for what the levers read and write."""
