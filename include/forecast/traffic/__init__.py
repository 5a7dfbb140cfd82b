"""The traffic that forecasts learn from: series, features, the table it lies in, and its export."""
