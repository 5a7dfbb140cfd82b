// Package alibaba stands in for OpenCost's: the lab's prices come from a CSV file.
package alibaba

import (
	"github.com/opencost/opencost/pkg/cloud"
	"github.com/opencost/opencost/pkg/cloud/models"
	"github.com/opencost/opencost/pkg/clustercache"
)

// Alibaba has the fields that OpenCost sets, and answers nothing.
type Alibaba struct {
	models.Provider
	Clientset            clustercache.ClusterCache
	Config               models.ProviderConfig
	ClusterRegion        string
	ClusterAccountId     string
	ServiceAccountChecks *models.ServiceAccountChecks
}

type AlibabaInfo struct {
	AlibabaClusterRegion    string
	AlibabaServiceKeyName   string
	AlibabaServiceKeySecret string
	AlibabaAccountID        string
}

type BOAConfiguration struct {
	cloud.LeftOut
}

func ConvertAlibabaInfoToConfig(AlibabaInfo) cloud.KeyedConfig {
	return &BOAConfiguration{cloud.LeftOut{Cloud: "Alibaba"}}
}
