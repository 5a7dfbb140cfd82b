package scalers

// Of KEDA's azure_queue_scaler.go, which is left out; every scaler with an external metric uses it.
const externalMetricType = "External"
