// Package aws stands in for OpenCost's: the lab's prices come from a CSV file.
package aws

import (
	"github.com/opencost/opencost/pkg/cloud"
	"github.com/opencost/opencost/pkg/cloud/models"
	"github.com/opencost/opencost/pkg/clustercache"
)

// OpenCost's own names of settings.
const (
	SpotInfoUpdateType   = "spotinfo"
	AthenaInfoUpdateType = "athenainfo"
)

// AWS has the fields that OpenCost sets, and answers nothing.
type AWS struct {
	models.Provider
	Clientset            clustercache.ClusterCache
	Config               models.ProviderConfig
	ClusterRegion        string
	ClusterAccountID     string
	ServiceAccountChecks *models.ServiceAccountChecks
}

type AWSAccessKey struct {
	AccessKeyID     string `json:"aws_access_key_id"`
	SecretAccessKey string `json:"aws_secret_access_key"`
}

type AwsAthenaInfo struct {
	AthenaBucketName string
	AthenaRegion     string
	AthenaDatabase   string
	AthenaTable      string
	AthenaWorkgroup  string
	ServiceKeyName   string
	ServiceKeySecret string
	AccountID        string
	MasterPayerARN   string
}

type AthenaConfiguration struct {
	cloud.LeftOut
}

type S3Configuration struct {
	cloud.LeftOut
}

func ConvertAwsAthenaInfoToConfig(AwsAthenaInfo) cloud.KeyedConfig {
	return &AthenaConfiguration{cloud.LeftOut{Cloud: "AWS"}}
}
