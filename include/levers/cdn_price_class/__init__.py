"""CloudFront's price class, chosen by dollars under latency limits."""
