// Package scaleway stands in for OpenCost's: the lab's prices come from a CSV file.
package scaleway

import (
	"github.com/opencost/opencost/pkg/cloud/models"
	"github.com/opencost/opencost/pkg/clustercache"
)

// Scaleway has the fields that OpenCost sets, and answers nothing.
type Scaleway struct {
	models.Provider
	Clientset        clustercache.ClusterCache
	Config           models.ProviderConfig
	ClusterRegion    string
	ClusterAccountID string
}
