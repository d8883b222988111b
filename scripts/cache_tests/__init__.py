"""make cache-tests: the public conformance suite of HTTP caches, http-cache-tests, against l7lb with its cache on.

    python -m scripts.cache_tests                           every test, the score, what failed
    python -m scripts.cache_tests --id vary-match           one test: what every side sent and saw
    python -m scripts.cache_tests --without-cache           what forwarding alone scores
    python -m scripts.cache_tests --checkout DIR            what github.com/http-tests/cache-tests has, which is newer
    LB_CACHES__DEFAULT__KIND=disk python -m scripts.cache_tests      whatever else l7lb is to be told

The suite's own client asks, its own origin answers, l7lb (uvicorn app.main:app) stands between them. A test passes that
passed and whose tests that it depends on did: so the suite counts itself. Tests for browsers only are not run. Of the
others `required` are those of the specification, `optimal` what a good cache does, `check` what some do: a yes or a no.

The suite comes from npm into .run/cache-tests, with the versions and hashes of package-lock.json here; two of its
dependencies, which only its browser pages use, are given as a third, so that they are not installed for nothing. No
script of a package is run. Talks to the loopback only, and ends every process that it started.

    __main__    what is asked for, what is said     running     processes: the origin, l7lb, until when
    suite       the package: its tests, its client  score       which tests passed
"""
