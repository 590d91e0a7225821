"""What app developers receive: artifacts, contract, golden tests, samples and papers in one zip, to be verified."""
