"""make bench: what one request costs a proxy in CPU, beside other proxies, in one run on one machine.

The proxy under measurement has core 0 for itself; the load (h2load) and the backend (nginx, one worker, 1 KiB) have
core 1. All proxies are alive at once and are visited in turn, in short slices of a fixed number of requests, the order
turned round in every second round. CPU is what /proc says the whole process tree of the proxy was given (schedstat,
nanoseconds, user and system), divided by the requests. What counts is the ratio to nginx in the same round, and of
these the median: the machine may be noisy, but it is noisy for both.

What the figures do not show: requests a second and latency are those of a proxy that shares the machine with its load
on the other core; the quick proxies saturate that core, so their requests a second are too low. nginx and HAProxy do
less than l7lb does here (no rate limit, no active health checks).

Talks to 127.0.0.1 only, in a temporary directory, and ends every process that it started.

    __main__   what is asked for, the rounds      peers      how each proxy is started
    slices     one slice: load and CPU            naive      the proxy that one would write first
    report     medians, table, JSON               processes  starting, pinning, ending
"""
