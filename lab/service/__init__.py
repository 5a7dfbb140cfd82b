"""The stand-in for AkiDB: its traffic, replicas, devices, history and forecast server."""
