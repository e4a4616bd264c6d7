"""The three models, their protocols, and how a name becomes a checkpoint."""
