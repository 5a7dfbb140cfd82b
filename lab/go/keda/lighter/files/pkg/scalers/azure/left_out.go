// Package azure stands in for KEDA's: the lab has no Azure.
package azure

import (
	"errors"
	"net/http"

	"github.com/go-logr/logr"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
)

// ErrLeftOut is the answer to everything that would need Azure.
var ErrLeftOut = errors.New("Azure is left out of the lab's KEDA")

// KEDA's own names of authentication parameters.
const (
	ServicePrincipalAuthKey                      = "azureServicePrincipal"
	ServicePrincipalTenantIDKey                  = "azureServicePrincipalTenantId"
	ServicePrincipalClientIDKey                  = "azureServicePrincipalClientId"
	ServicePrincipalCloudKey                     = "azureServicePrincipalCloud"
	ServicePrincipalActiveDirectoryEndpointKey   = "azureServicePrincipalActiveDirectoryEndpoint"
	ServicePrincipalClientSecretKey              = "azureServicePrincipalClientSecret"
	ServicePrincipalClientCertificateKey         = "azureServicePrincipalClientCertificate"
	ServicePrincipalClientCertificatePasswordKey = "azureServicePrincipalClientCertificatePassword"
)

// TryAndGetAzureManagedPrometheusHTTPRoundTripper has none for an ordinary Prometheus, as KEDA's own.
func TryAndGetAzureManagedPrometheusHTTPRoundTripper(_ logr.Logger, identity kedav1alpha1.AuthPodIdentity, _ map[string]string) (http.RoundTripper, error) {
	if identity.Provider == kedav1alpha1.PodIdentityProviderAzureWorkload {
		return nil, ErrLeftOut
	}
	return nil, nil
}
