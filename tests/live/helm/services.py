"""The Services of one Kubernetes node, as kube-proxy would offer them, but with sockets instead of rules of the kernel.

The cluster's address of each Service is given to the loopback device, and each of its ports is listened on. A connection goes to the next endpoint that
is ready. The API server's own Service leads to the API server. It ends with its standard input, and takes the addresses back.

  services.py ENV_JSON [ADDRESS:PORT=PORT]...     further ports of this machine's loopback, at addresses of the cluster
"""

import asyncio
import itertools
import json
import pathlib
import ssl
import subprocess
import sys
import urllib.request

PAUSE = 0.2


class Services:
    def __init__(self, facts, forwarded):
        self.facts, self.turns = facts, itertools.count()
        self.context = ssl._create_unverified_context()
        self.headers = {"Authorization": f"Bearer {pathlib.Path(facts['adminTokenFile']).read_text().strip()}"}
        # The endpoints by address and port; those that never change apart.
        self.fixed = {listener: [("127.0.0.1", port)] for listener, port in forwarded.items()}
        self.endpoints, self.servers, self.addresses = dict(self.fixed), {}, set()

    def ask(self, path):
        request = urllib.request.Request(self.facts["url"] + path, headers=self.headers)
        with urllib.request.urlopen(request, context=self.context, timeout=5) as answer:
            return json.load(answer)["items"]

    def look(self):
        """The endpoints as they are now."""
        slices = self.ask("/apis/discovery.k8s.io/v1/endpointslices")
        found = dict(self.fixed)
        for service in self.ask("/api/v1/services"):
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            address = service["spec"].get("clusterIP")
            if address in (None, "None"):
                continue
            for port in service["spec"]["ports"]:
                if (space, name) == ("default", "kubernetes"):
                    found[(address, port["port"])] = [("127.0.0.1", self.facts["port"])]
                    continue
                found[(address, port["port"])] = [
                    (place, named["port"])
                    for each in slices
                    if each["metadata"]["namespace"] == space and each["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name
                    for named in each["ports"] or []
                    if named.get("name", "") == port.get("name", "")
                    for endpoint in each["endpoints"] or []
                    if endpoint.get("conditions", {}).get("ready")
                    for place in endpoint["addresses"]
                ]
        return found

    async def follow(self):
        while True:
            try:
                self.endpoints = await asyncio.to_thread(self.look)
            except OSError as error:
                print(f"services: {error}", file=sys.stderr, flush=True)
            for listener in self.endpoints.keys() - self.servers.keys():
                self.claim(listener[0])
                self.servers[listener] = await asyncio.start_server(lambda reader, writer, key=listener: self.serve(key, reader, writer), *listener)
            for listener in self.servers.keys() - self.endpoints.keys():
                self.servers.pop(listener).close()
            await asyncio.sleep(PAUSE)

    def claim(self, address):
        if address not in self.addresses:
            subprocess.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"], check=True)
            self.addresses.add(address)

    def release(self):
        for address in self.addresses:
            subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=False)

    async def serve(self, listener, reader, writer):
        there = list(self.endpoints.get(listener, []))
        first = next(self.turns)
        for offset in range(len(there)):
            try:
                theirs = await asyncio.wait_for(asyncio.open_connection(*there[(first + offset) % len(there)]), 2)
            except (OSError, asyncio.TimeoutError):
                continue
            await asyncio.gather(pass_on(reader, theirs[1]), pass_on(theirs[0], writer))
            break
        writer.close()


async def pass_on(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


async def main():
    forwarded = {}
    for word in sys.argv[2:]:
        listener, port = word.split("=")
        address, number = listener.rsplit(":", 1)
        forwarded[(address, int(number))] = int(port)
    services = Services(json.loads(pathlib.Path(sys.argv[1]).read_text()), forwarded)
    following = asyncio.create_task(services.follow())
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    try:
        await asyncio.wait([following, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        services.release()
    following.cancel()


if __name__ == "__main__":
    asyncio.run(main())
