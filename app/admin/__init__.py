"""The control plane: Starlette routes, JSON out."""
