"""Request routing: who serves a request, by the least cost that keeps to its latency budget."""

from include.levers.request_routing.lever import RequestRouting

__all__ = ["RequestRouting"]
