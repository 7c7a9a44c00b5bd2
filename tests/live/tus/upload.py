"""Uploads a file by tus, and says on a line each where the upload is and how far it has come.

The token is in the environment, as TOKEN.
"""

import argparse
import os
import sys

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

parser = argparse.ArgumentParser()
parser.add_argument("url", help="where uploads begin, or with --resume that of the upload")
parser.add_argument("file")
parser.add_argument("--chunk", type=int, required=True, help="bytes in a request")
parser.add_argument("--name", help="the file's name, where the URL names a directory")
parser.add_argument("--checksum", action="store_true", help="announce the SHA-1 of each chunk")
parser.add_argument("--resume", action="store_true")
arguments = parser.parse_args()

client = TusClient(arguments.url, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
uploader = client.uploader(
    arguments.file,
    url=arguments.url if arguments.resume else None,
    chunk_size=arguments.chunk,
    metadata={"filename": arguments.name} if arguments.name else None,
    upload_checksum=arguments.checksum,
)
if not arguments.resume:
    uploader.set_url(uploader.create_url())
print("url", uploader.url, flush=True)
print("offset", uploader.offset, flush=True)
while uploader.offset < uploader.get_file_size():
    try:
        uploader.upload_chunk()
    except TusCommunicationError as error:
        sys.exit(f"broken off at {uploader.offset}: {error}")
    print("offset", uploader.offset, flush=True)
