"""The simulated shop: shoppers whose true CTR for any picture is known. It predicts nothing about real shoppers."""
