// Package azure stands in for OpenCost's: the lab's prices come from a CSV file.
package azure

import (
	"github.com/opencost/opencost/pkg/cloud"
	"github.com/opencost/opencost/pkg/cloud/models"
	"github.com/opencost/opencost/pkg/clustercache"
)

// AzureStorageUpdateType is OpenCost's own name of a setting.
const AzureStorageUpdateType = "AzureStorage"

// Azure has the fields that OpenCost sets, and answers nothing.
type Azure struct {
	models.Provider
	Clientset            clustercache.ClusterCache
	Config               models.ProviderConfig
	ClusterRegion        string
	ClusterAccountID     string
	ServiceAccountChecks *models.ServiceAccountChecks
}

type AzureServiceKey struct {
	SubscriptionID string
}

type AzureStorageConfig struct {
	SubscriptionId string
	AccountName    string
	AccessKey      string
	ContainerName  string
	ContainerPath  string
	AzureCloud     string
}

func (c *AzureStorageConfig) IsEmpty() bool {
	return c == nil || *c == AzureStorageConfig{}
}

type StorageConfiguration struct {
	cloud.LeftOut
}

func ConvertAzureStorageConfigToConfig(AzureStorageConfig) cloud.KeyedConfig {
	return &StorageConfiguration{cloud.LeftOut{Cloud: "Azure"}}
}

// ParseAzureSubscriptionID finds none: no node of the lab is Azure's.
func ParseAzureSubscriptionID(string) string { return "" }
