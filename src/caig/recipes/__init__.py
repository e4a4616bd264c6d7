"""One recipe per stage: a frozen Config, and run() whose loop reads top to bottom."""
