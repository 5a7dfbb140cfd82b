"""What may become champion: naive forecasts, trees, the LSTM and their blend."""
