module akidb.lab/gateway

go 1.26.10

require sigs.k8s.io/gateway-api v1.6.3
