"""Where rows of the cost table come from: exports, allocation, contracts, devices and request counters."""
