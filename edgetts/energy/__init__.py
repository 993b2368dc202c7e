"""Energy and power state of the device: meters, batteries, heat. Knows no models, and plans nothing."""
