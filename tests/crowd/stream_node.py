"""A stream that does as its commands say. `python stream_node.py host port`; each line on stdin is a command."""

import selectors
import socket
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def main(host, port):
    """`send N`: change N to all; `beat`; `cut`: end all; `asked`: the Last-Event-IDs and roles that came."""
    server = socket.create_server((host, port), backlog=500)
    picked = selectors.DefaultSelector()
    picked.register(server, selectors.EVENT_READ)
    picked.register(0, selectors.EVENT_READ)
    open_, asked = [], []
    print("up", flush=True)
    while True:
        for key, _ in picked.select():
            if key.fileobj is server:
                client, _ = server.accept()
                picked.register(client, selectors.EVENT_READ)
            elif key.fileobj == 0:
                words = sys.stdin.readline().split()
                if not words:
                    return
                if words[0] == "send":
                    text = f'event: change\nid: {words[1]}\ndata: {{"at":1764000000000000000}}\n\n'
                    for client in open_:
                        client.sendall(text.encode())
                elif words[0] == "cut":
                    for client in open_:
                        client.close()
                    open_.clear()
                print(len(open_), *asked, flush=True)
            else:
                client = key.fileobj
                head = client.recv(4096).decode(errors="replace")
                picked.unregister(client)
                if not head:
                    client.close()
                    continue
                lines = [line.split(": ", 1) for line in head.split("\r\n") if ": " in line]
                fields = dict(lines)
                asked.append(f"{fields.get('Last-Event-ID', '-')}/{fields.get('X-Node-Role', '-')}")
                client.sendall(HEAD + b'event: snapshot\nid: 5\ndata: {"seq":5}\n\n')
                open_.append(client)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
