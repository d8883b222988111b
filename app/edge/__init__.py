"""What faces the client below ASGI."""
