"""The rehearsal's cloud: an emulator of AWS for all regions, its seed, and the faults that the lab injects into it."""
