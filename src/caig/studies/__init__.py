"""What the simulated shop, where the truth is known, says of the methods; one study a file."""
