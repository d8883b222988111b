"""Our httpx transport: one LIFO pool of HTTP/1.1 connections per backend."""
