"""What should happen. Pure and synchronous: no I/O, no clock, no chance but what is passed in."""
