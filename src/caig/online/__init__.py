"""The click loop without its web: a token of a decision, the ledger of what was seen and clicked, who is shown next.

decide -> `tokens` -> event -> `ledger` -> `tally` -> `allocation` and `decisions` -> decide
"""
