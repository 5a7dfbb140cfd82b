"""The names under which the forecast server tells Prometheus what it forecasts, for all who read or write them."""

FORECAST = "akidb_forecast_qps"
GENERATED = "akidb_forecast_generated_timestamp_seconds"
CONFIDENT = "akidb_forecast_confident"
MODEL_INFO = "akidb_forecast_model_info"
REQUESTS = "akidb_forecast_requests_total"
DURATION = "akidb_forecast_request_duration_seconds"

MEDIAN, UPPER = "0.5", "0.9"  # values of the label ``quantile``
LONGEST_LEAD = 15  # minutes: the label ``horizon`` goes from 1 to it
FRESH_SECONDS = 180  # an older forecast was not served as new
