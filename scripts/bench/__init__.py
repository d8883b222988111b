"""make bench: what requests cost a proxy, beside other proxies, in one run on one machine.

    python -m scripts.bench                                   small GET
    python -m scripts.bench --scenario tls --scenario post    some scenarios; --all for all; --list says what there is
    python -m scripts.bench --python here --python /usr/bin/python3.11     rows of a second build of Python beside
    python -m scripts.bench --install                         Envoy and aiohttp, in throw-away venvs under .run/bench
    python -m scripts.bench --plot                            then also docs/img/bench.svg
    python -m scripts.bench --plot bench-results/X.json       that of an earlier run, and no run

The proxy under measurement has core 0 for itself; the load (h2load) and the backend (nginx, one worker, 1 KiB) have
the last core. All proxies of a scenario are alive at once and are visited in turn, in short slices of a fixed number of
requests, the order turned round in every second round. CPU is what /proc says the whole process tree of the proxy was
given (schedstat, nanoseconds, user and system), divided by the requests. What counts is the ratio to the first proxy in
the same round, and of these the median with its quartiles: the machine may be noisy, but it is noisy for both. Every
answer is checked.

What the figures do not show is said under each report; the list is in report.py.

Talks to 127.0.0.1 only, in a temporary directory, and ends every process that it started. Only --install, and a
--python that has not what l7lb needs, download something.

    __main__    what is asked for               scenarios/  what the clients do
    stage       processes alive, the rounds     peers/      how each proxy is set up
    load        one slice: load and CPU         backends    what is behind the proxies; bulk: 100 MiB
    figures     medians, quartiles, ratios      report      tables, JSON; plot: SVG
    processes   starting, pinning, ending       pythons     interpreters and venvs
"""
