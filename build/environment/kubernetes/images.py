#!/usr/bin/env python3
"""An image registry for pulls, kept in a folder.

images.py add STORE NAME:TAG ROOT [COMMAND...]   takes in an image of one layer, the contents of the folder ROOT; with --entrypoint before
                                                 the command, what a container is given are arguments of it
images.py remove STORE NAME:TAG                  forgets it
images.py serve STORE PORT                       serves what was taken in, on loopback (OCI distribution specification)
"""

import gzip
import hashlib
import http.server
import io
import json
import platform
import re
import sys
import tarfile
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def add(store, reference, root, *command):
    name, tag = reference.rsplit(":", 1)
    layer = archive(root)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {**started_by(command), "Env": ["PATH=/usr/local/bin:/bin:/usr/bin:/sbin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created_by": "images.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(store, CONFIG, json.dumps(config).encode()),
        "layers": [blob(store, LAYER, gzip.compress(layer, compresslevel=1, mtime=0))],
    }
    place = Path(store, "tags", name, tag)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(blob(store, MANIFEST, json.dumps(manifest).encode())["digest"])


def started_by(command):
    is_entrypoint = command[:1] == ("--entrypoint",)
    return {"Entrypoint": list(command[1:])} if is_entrypoint else {"Cmd": list(command)}


def remove(store, reference):
    """Removes it with what belongs to it alone, as far as its tag tells."""
    name, tag = reference.rsplit(":", 1)
    place = Path(store, "tags", name, tag)
    manifest = Path(store, "blobs", place.read_text())
    described = json.loads(manifest.read_text())
    for each in [described["config"], *described["layers"]]:
        Path(store, "blobs", each["digest"]).unlink(missing_ok=True)
    manifest.unlink()
    place.unlink()


def archive(root):
    """The folder as a tar archive that does not depend on when it was made."""

    def without_time(header):
        header.mtime = 0
        return header

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        layer.add(root, arcname=".", filter=without_time)
    return content.getvalue()


def blob(store, media_type, content):
    """Keeps it, and answers with its descriptor."""
    place = Path(store, "blobs", digest(content))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = None

    def do_GET(self):
        self.answer(True)

    def do_HEAD(self):
        self.answer(False)

    def answer(self, with_content):
        path = self.path.split("?")[0]
        if path == "/v2/":
            return self.reply(200, "application/json", b"{}", with_content)
        asked = re.fullmatch(r"/v2/((?:[a-z0-9][a-z0-9._-]*/)*[a-z0-9][a-z0-9._-]*)/(manifests|blobs)/([A-Za-z0-9_][A-Za-z0-9._:-]*)", path)
        if asked:
            name, kind, reference = asked.groups()
            tag = Path(self.store, "tags", name, reference)
            if kind == "manifests" and tag.is_file():
                reference = tag.read_text()
            place = Path(self.store, "blobs", reference)
            if place.is_file():
                media_type = MANIFEST if kind == "manifests" else "application/octet-stream"
                return self.reply(200, media_type, place.read_bytes(), with_content, reference)
        unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "there is no such image"}]}
        return self.reply(404, "application/json", json.dumps(unknown).encode(), with_content)

    def reply(self, status, media_type, content, with_content, reference=None):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if reference:
            self.send_header("Docker-Content-Digest", reference)
        self.end_headers()
        if with_content:
            self.wfile.write(content)


def serve(store, port):
    Registry.store = store
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Registry).serve_forever()


if __name__ == "__main__":
    {"add": add, "remove": remove, "serve": serve}[sys.argv[1]](*sys.argv[2:])
