"""Evening channels out: loud ones are brought to the level of others, or stored apart."""
