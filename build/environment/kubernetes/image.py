#!/usr/bin/env python3
"""image.py NAME:TAG FOLDER OUT.tar [COMMAND...]: writes a docker-archive with one layer, the contents of a folder."""

import hashlib
import io
import json
import platform
import sys
import tarfile


def main(name, folder, out, command):
    layer = archive(folder)
    layer_digest = hashlib.sha256(layer).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            "history": [{"created_by": "image.py"}],
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = f"{layer_digest}/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    with tarfile.open(out, "w") as image:
        for member, content in ((config_name, config), (layer_name, layer), ("manifest.json", manifest)):
            header = tarfile.TarInfo(member)
            header.size = len(content)
            image.addfile(header, io.BytesIO(content))


def archive(folder):
    """The folder as a tar archive that does not depend on when it was made."""

    def without_time(header):
        header.mtime = 0
        return header

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        layer.add(folder, arcname=".", filter=without_time)
    return content.getvalue()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
