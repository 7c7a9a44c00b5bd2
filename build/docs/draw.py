#!/usr/bin/env python3
"""Draws the diagrams of the documentation as SVG, into docs/diagrams. With --check, it only compares.

Each picture has a background of its own and colours for light and dark, so that it can be read on any page.
"""

import sys
from html import escape
from pathlib import Path

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de }
  .box { fill: #f6f8fa; stroke: #57606a }
  .own { fill: #fff4d6; stroke: #9a6700 }
  .frame { fill: none; stroke: #9a6700; stroke-dasharray: 6 4 }
  .line { fill: none; stroke: #424a53; stroke-width: 1.6 }
  .faint { stroke-dasharray: 5 4 }
  .head { fill: #424a53 }
  text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; fill: #1f2328; font-size: 15px }
  .title { font-size: 17px; font-weight: 600 }
  .note { fill: #424a53; font-size: 14px }
  .owner { fill: #7d4e00; font-size: 17px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #161b22; stroke: #30363d }
    .box { fill: #21262d; stroke: #8b949e }
    .own { fill: #3a2d0a; stroke: #d4a72c }
    .frame { stroke: #d4a72c }
    .line { stroke: #c9d1d9 }
    .head { fill: #c9d1d9 }
    text { fill: #f0f6fc }
    .note { fill: #c9d1d9 }
    .owner { fill: #eac54f }
  }
"""


class Picture:
    """Shapes in the order in which they are drawn; coordinates are pixels from the upper left corner."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.shapes = width, height, title, []

    def frame(self, x, y, width, height, name):
        self.shapes.append(f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>')
        self.text(x + 14, y + 25, name, "owner", "start")

    def box(self, x, y, width, height, title="", *lines, own=False):
        """A box with a title and lines below it, centred together."""
        self.shapes.append(f'<rect class="{"own" if own else "box"}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>')
        top = y + height / 2 - 10 * len(lines) + 6
        self.text(x + width / 2, top, title, "title")
        for number, line in enumerate(lines, 1):
            self.text(x + width / 2, top + 2 + 20 * number, line)

    def text(self, x, y, text, style=None, anchor="middle"):
        if not text:
            return
        kind = f' class="{style}"' if style else ""
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kind}>{escape(text)}</text>')

    def arrow(self, *points, faint=False):
        """A line through the points, with its head at the last one. Faint: not part of each request."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        self.shapes.append(f'<path class="line{" faint" if faint else ""}" d="{path}" marker-end="url(#head)"/>')

    def svg(self):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-label="{escape(self.title)}">\n<title>{escape(self.title)}</title>\n'
            f"<style>{STYLE}</style>\n"
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
            '<path class="head" d="M0 0 L10 5 L0 10 z"/></marker></defs>\n'
            f'<rect class="page" x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="12"/>\n'
        )
        return head + "\n".join(self.shapes) + "\n</svg>\n"


def request():
    """The way of a request, from the client to the cluster."""
    p = Picture(920, 440, "The path of a request: client, token, relation, service, scheduler or files, connections, cluster")
    p.frame(222, 20, 682, 400, "Goldcrest")
    p.box(16, 60, 160, 110, "Client", "curl, pyfirecrest,", "AiiDA, a portal")
    p.box(246, 60, 180, 110, "Token", "signature, issuer,", "audience, times:", "who is it?", own=True)
    p.box(474, 60, 180, 110, "Relation", "by rules or OpenFGA:", "may ada use daint?", own=True)
    p.box(702, 60, 180, 110, "Service", "path policy, limits,", "audit trail", own=True)
    p.box(702, 222, 180, 82, "Scheduler", "Slurm, PBS, local", own=True)
    p.box(702, 322, 180, 82, "Files", "SFTP or commands", own=True)
    p.box(302, 222, 320, 182, "Connections", "the open SSH connections", "of ada to daint:", "kept shells for commands, SFTP", "sessions, channels for contents", own=True)
    p.box(16, 258, 160, 110, "Cluster", "sshd, as ada:", "sbatch, squeue,", "sftp-server")
    for x in (176, 426, 654):
        p.arrow((x, 115), ({176: 246, 426: 474, 654: 702}[x], 115))
    p.text(200, 103, "HTTP", "note")
    p.arrow((792, 170), (792, 222))
    p.arrow((842, 170), (842, 196), (894, 196), (894, 363), (882, 363))
    p.arrow((702, 263), (622, 263))
    p.arrow((702, 363), (622, 363))
    p.arrow((302, 313), (176, 313))
    p.text(262, 303, "SSH", "note")
    p.text(336, 190, "otherwise 401", "note")
    p.text(564, 190, "otherwise 403", "note")
    return p


def site():
    """The parts of a site, and who talks to whom."""
    p = Picture(920, 520, "A site: clients, proxy, Goldcrest, identity provider, OpenFGA, clusters, object store")
    p.box(16, 200, 160, 100, "Clients", "programs,", "web portals")
    p.box(236, 200, 150, 100, "Proxy", "TLS: nginx,", "HAProxy")
    p.box(452, 214, 190, 110, own=True)
    p.box(446, 200, 190, 110, "Goldcrest", "one or more replicas", "without shared state", own=True)
    p.box(236, 24, 150, 100, "Identity", "OpenID Connect,", "such as Keycloak")
    p.box(446, 24, 190, 100, "OpenFGA", "who may use what", "(or rules in the file)")
    p.box(716, 24, 188, 100, "SSH credentials", "key service, or an", "authority of its own")
    p.box(716, 170, 188, 62, "Slurm cluster")
    p.box(716, 246, 188, 62, "PBS cluster")
    p.box(716, 322, 188, 62, "Host", "without a scheduler")
    p.box(236, 400, 400, 92, "Object store", "S3, optional: large files go past Goldcrest", "by signed URLs")
    p.arrow((176, 250), (236, 250))
    p.arrow((386, 250), (446, 250))
    p.text(206, 238, "HTTPS", "note")
    p.text(416, 238, "HTTP", "note")
    p.arrow((96, 200), (96, 74), (236, 74), faint=True)
    p.text(104, 62, "get a token", "note", "start")
    p.arrow((478, 200), (478, 162), (311, 162), (311, 124), faint=True)
    p.text(394, 152, "signing keys", "note")
    p.arrow((541, 200), (541, 124))
    p.text(549, 152, "checks", "note", "start")
    p.arrow((600, 200), (600, 162), (676, 162), (676, 74), (716, 74), faint=True)
    p.text(668, 152, "keys", "note", "end")
    for y in (201, 277, 353):
        p.arrow((642, 262), (680, 262), (680, y), (716, y))
    p.text(662, 252, "SSH", "note")
    p.arrow((96, 300), (96, 446), (236, 446), faint=True)
    p.text(104, 436, "file parts", "note", "start")
    p.arrow((541, 324), (541, 400), faint=True)
    p.text(549, 366, "sets up", "note", "start")
    p.arrow((810, 384), (810, 446), (636, 446), faint=True)
    p.text(723, 436, "jobs: file parts", "note")
    return p


def main():
    folder = Path(__file__).resolve().parents[2] / "docs/diagrams"
    outdated = []
    for name, picture in {"request.svg": request(), "site.svg": site()}.items():
        path, text = folder / name, picture.svg()
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != text:
                outdated.append(str(path))
        else:
            path.write_text(text)
    if outdated:
        sys.exit(f"not as draw.py draws them: {', '.join(outdated)}")


if __name__ == "__main__":
    main()
