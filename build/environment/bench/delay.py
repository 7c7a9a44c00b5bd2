#!/usr/bin/env python3
"""A TCP proxy on loopback that adds a delay, as a long line does.

    delay.py --to PORT --delay MS [--port PORT]    prints the port that it listens on, and serves until it is killed
    delay.py --check --delay MS                    prints how many MB/s it moves by itself

The delay is that of a round trip; each direction has half of it. What is on its way is held in memory, at most IN_FLIGHT
bytes for each direction of a connection: then the sender is held back, as it would be by a router that is full. That is far
more than the windows of SSH let anybody send, so that the proxy adds time and takes no speed. Every direction has a thread that
reads and one that writes.
"""

import argparse
import collections
import socket
import subprocess
import sys
import threading
import time

LOOPBACK = "127.0.0.1"
CHUNK = 256 * 1024
IN_FLIGHT = 64 * 1024 * 1024
CHECKED = 1024 * 1024 * 1024


class Line:
    """One direction of a connection."""

    def __init__(self, source, sink, seconds):
        self.source, self.sink, self.seconds = source, sink, seconds
        self.changed = threading.Condition()
        self.held = 0
        self.chunks = collections.deque()
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        chunk = None
        while chunk != b"":
            try:
                chunk = self.source.recv(CHUNK)
            except OSError:
                chunk = b""
            with self.changed:
                self.changed.wait_for(lambda: self.held < IN_FLIGHT)
                self.held += len(chunk)
                self.chunks.append((time.monotonic() + self.seconds, chunk))
                self.changed.notify_all()

    def write(self):
        chunk = None
        while chunk != b"":
            with self.changed:
                self.changed.wait_for(lambda: self.chunks)
                due, chunk = self.chunks.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self.sink.sendall(chunk)
            except OSError:
                chunk = b""
            with self.changed:
                # Nobody is left to take what a broken sink does not: the reader must not wait for it.
                self.held = self.held - len(chunk) if chunk else 0
                self.changed.notify_all()
        for end, direction in ((self.sink, socket.SHUT_WR), (self.source, socket.SHUT_RD)):
            try:
                end.shutdown(direction)
            except OSError:
                pass


def serve(port, target, seconds):
    listener = socket.create_server((LOOPBACK, port))
    print(listener.getsockname()[1], flush=True)
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((LOOPBACK, target))
        except OSError:
            near.close()
            continue
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Line(near, far, seconds / 2)
        Line(far, near, seconds / 2)


def check(milliseconds):
    """Sends bytes through a proxy in a process of its own, and takes the time until the last of them has come."""
    sink = socket.create_server((LOOPBACK, 0))
    command = [sys.executable, __file__, "--to", str(sink.getsockname()[1]), "--delay", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        source = socket.create_connection((LOOPBACK, int(proxy.stdout.readline())))
        far, _ = sink.accept()

        def send():
            chunk = bytes(CHUNK)
            for _ in range(CHECKED // CHUNK):
                source.sendall(chunk)

        begun = time.monotonic()
        threading.Thread(target=send, daemon=True).start()
        left, buffer = CHECKED, bytearray(CHUNK)
        while left > 0:
            left -= far.recv_into(buffer)
        print(f"{CHECKED / 1e6 / (time.monotonic() - begun):.0f}")
        proxy.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=int, help="the port that connections go to")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; any by default")
    parser.add_argument("--delay", type=float, required=True, help="milliseconds for a round trip")
    parser.add_argument("--check", action="store_true", help="measure the proxy itself")
    options = parser.parse_args()
    if options.check:
        check(options.delay)
    elif options.to is None:
        parser.error("--to is missing")
    else:
        serve(options.port, options.to, options.delay / 1000)


main()
