"""The engine behind `repic demo`: the whole loop on the embedded model in a few minutes."""
