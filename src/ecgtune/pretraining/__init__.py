"""Self-supervised pretraining of encoders on recordings without labels."""
