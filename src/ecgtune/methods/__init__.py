"""Put a method on a model, what it needs while it trains, and the audits that watch it."""
