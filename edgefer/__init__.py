"""Put a trained facial-expression network on phones and ARM boards."""
