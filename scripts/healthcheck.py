#!/usr/bin/env python3
"""Exit status 0 when a URL of this machine answers 200: HEALTHCHECK of the container, whose image need not have curl.

Use: scripts/healthcheck.py [http://127.0.0.1:8080/health]     (/-/live of the balancer on PORT when not given)
"""

import os
import ssl
import sys
import urllib.request

own = f"https://127.0.0.1:{os.environ.get('PORT', '8443')}{os.environ.get('LB_ADMIN__PREFIX', '/-')}/live"
unverified = ssl.create_default_context()
unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # whether it answers, not who it is
try:
    urllib.request.urlopen([*sys.argv, own][1], timeout=2, context=unverified).close()
except OSError as error:  # refused, too slow, or a status that is none of 2xx
    sys.exit(str(error))
