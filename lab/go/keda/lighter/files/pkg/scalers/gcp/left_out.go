// Package gcp stands in for KEDA's: the lab has no Google Cloud.
package gcp

import (
	"errors"
	"net/http"

	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
)

// GcpScopeMonitoringRead is KEDA's own value.
var GcpScopeMonitoringRead = "https://www.googleapis.com/auth/monitoring.read"

// ErrGoogleApplicationCrendentialsNotFound is what KEDA's own answers to a trigger without Google's credentials.
var ErrGoogleApplicationCrendentialsNotFound = errors.New("google application credentials not found")

// ErrLeftOut is the answer to everything that would need Google Cloud.
var ErrLeftOut = errors.New("Google Cloud is left out of the lab's KEDA")

// GetGCPOAuth2HTTPTransport refuses credentials of Google and finds none otherwise.
func GetGCPOAuth2HTTPTransport(config *scalersconfig.ScalerConfig, _ http.RoundTripper, _ ...string) (http.RoundTripper, error) {
	if config.PodIdentity.Provider == "gcp" || config.TriggerMetadata["credentialsFromEnv"] != "" {
		return nil, ErrLeftOut
	}
	return nil, ErrGoogleApplicationCrendentialsNotFound
}
