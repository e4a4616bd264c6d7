"""From a product photo to a finished ad picture: read, cut out, lay out, compose, measure, write."""
