"""Ends 0 where http://127.0.0.1:PORT/PATH answers 200. For images without curl: two modules, no site packages.

python3 -IS healthy.py PORT PATH
"""

import socket
import sys

try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 3) as asked:
        asked.sendall(f"GET {sys.argv[2]} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        said = asked.recv(64)
except OSError as error:
    sys.exit(f"expected an answer on port {sys.argv[1]}, found {error}")
if b" 200 " not in said:
    sys.exit(f"expected status 200 of {sys.argv[2]}, found {said!r}")
