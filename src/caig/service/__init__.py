"""The click loop over HTTP: `caig serve` (extra `caig[service]`)."""
