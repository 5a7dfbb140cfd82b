package cloudcost

import (
	"time"

	"github.com/opencost/opencost/pkg/cloud"
	"github.com/opencost/opencost/pkg/kubecost"
)

// CloudCostIntegration is OpenCost's own interface to a cloud's bill.
type CloudCostIntegration interface {
	GetCloudCost(time.Time, time.Time) (*kubecost.CloudCostSetRange, error)
	GetStatus() cloud.ConnectionStatus
}

// GetIntegrationFromConfig has none, as OpenCost's own for a configuration that it does not know.
func GetIntegrationFromConfig(cloud.KeyedConfig) CloudCostIntegration { return nil }
