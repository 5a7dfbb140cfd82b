"""One region's cluster: control plane, controllers, nodes and what stands in it before the rollout."""
