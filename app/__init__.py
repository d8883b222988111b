"""l7lb: a layer-7 load balancer in Python."""

__version__ = "0.1.0"
