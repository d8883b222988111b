"""RFC 9111 for a shared cache, one module a section: pure, `now` is wall-clock seconds and an argument."""
