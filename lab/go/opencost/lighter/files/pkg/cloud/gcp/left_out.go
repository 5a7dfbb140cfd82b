// Package gcp stands in for OpenCost's: the lab's prices come from a CSV file.
package gcp

import (
	"cloud.google.com/go/compute/metadata"

	"github.com/opencost/opencost/pkg/cloud"
	"github.com/opencost/opencost/pkg/cloud/models"
	"github.com/opencost/opencost/pkg/clustercache"
)

// BigqueryUpdateType is OpenCost's own name of a setting.
const BigqueryUpdateType = "bigqueryupdate"

// GCP has the fields that OpenCost sets, and answers nothing.
type GCP struct {
	models.Provider
	Clientset        clustercache.ClusterCache
	APIKey           string
	Config           models.ProviderConfig
	ClusterRegion    string
	ClusterAccountID string
	ClusterProjectID string
	MetadataClient   *metadata.Client
}

type BigQueryConfig struct {
	ProjectID          string
	BillingDataDataset string
	Key                map[string]string
}

type BigQueryConfiguration struct {
	cloud.LeftOut
}

func ConvertBigQueryConfigToConfig(BigQueryConfig) cloud.KeyedConfig {
	return &BigQueryConfiguration{cloud.LeftOut{Cloud: "Google Cloud"}}
}

// ParseGCPProjectID finds none: no node of the lab is Google's.
func ParseGCPProjectID(string) string { return "" }
