"""A node for the fault tests: answers whoever speaks HTTP, Redis or PostgreSQL first. `python tiny_node.py host port`."""

import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            self.talk()
        except ConnectionError:
            return

    def talk(self):
        first = self.rfile.read(1)
        if first == b"G":
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n" + b"x" * 100
            )
        elif first == b"P":
            self.rfile.readline()
            self.wfile.write(b"+PONG\r\n")
        elif first == b"*":
            for _ in range(3):
                self.rfile.readline()
            size = self.rfile.readline()
            payload = self.rfile.read(int(size[1:]) + 2)
            self.wfile.write(size + payload)
        elif first == b"\0":
            self.rfile.read(7)
            self.wfile.write(b"N")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
