"""Shapes of the ledger, in the order of their numbers. A released one is never changed: add the next."""
