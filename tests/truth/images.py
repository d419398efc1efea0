# SPDX-License-Identifier: Apache-2.0
"""images: tars as OCI layouts and archives, packed in the ways that registries hold layers."""
import gzip
import hashlib
import io
import json
import os
import platform
import random
import struct
import tarfile
import zlib

import model

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}


def members(data, dice):
    """gzip of several members, empty ones among them, with and without names and comments."""
    out, at = b"", 0
    while at < len(data) or not out:
        size = dice.choice((0, 1, 511, 20000, len(data)))
        if dice.random() < 0.3:
            packed = zlib.compressobj(1, wbits=-15)
            body = packed.compress(data[at : at + size]) + packed.flush()
            ends = struct.pack("<II", zlib.crc32(data[at : at + size]), len(data[at : at + size]))
            head = b"\x1f\x8b\x08\x1c" + b"\0" * 6 + b"\x05\0extra" + b"name\0" + b"comment\0"
            out += head + body + ends
        else:
            out += gzip.compress(data[at : at + size], 1, mtime=0)
        at += size
    return out


def frame(data):
    """A zstd frame of raw blocks: no compressor is needed for a reader's sake."""
    blocks = [data[at : at + 65536] for at in range(0, len(data), 65536)] or [b""]
    out = b"\x28\xb5\x2f\xfd\x00\x38"  # a window of 128 KiB, no size, no checksum
    for at, block in enumerate(blocks):
        out += (len(block) << 3 | (at + 1 == len(blocks))).to_bytes(3, "little") + block
    return out


def frames(data, dice):
    """zstd of several frames, with one between that is to be skipped, as zstd:chunked has."""
    middle = dice.randrange(len(data) + 1)
    skipped = struct.pack("<II", 0x184D2A50 + dice.randrange(16), 9) + b"no matter"
    return frame(data[:middle]) + skipped + frame(data[middle:])


def packed(data, dice, odd):
    """A layer's blob and the end of its media type."""
    way = dice.choice(("gzip", "gzip", "members", "frames", "plain")) if odd else "gzip"
    if way == "members":
        return members(data, dice), "+gzip"
    if way == "frames":
        return frames(data, dice), "+zstd"
    return (data, "") if way == "plain" else (gzip.compress(data, 1, mtime=0), "+gzip")


def chain_id(diff_ids):
    """OCI image-spec config.md, "Layer ChainID"."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256((chain + " " + diff_id).encode()).hexdigest()
    return chain


class Layout:
    """An image that is there, in a directory of its own."""

    def __init__(self, directory):
        self.name, self.directory = os.path.basename(directory.rstrip("/")), directory
        self.manifest = model.image_manifest(directory)
        config = model.document(directory, self.manifest)["config"]
        self.id = config["digest"]
        self.chain_id = chain_id(model.document(directory, config)["rootfs"]["diff_ids"])


class Image:
    """blobs: what a layout's blobs/sha256 holds, by hex."""

    def __init__(self, layers, name, seed=0, odd=False):
        dice, self.name, self.blobs = random.Random(seed), name, {}
        described, diff_ids = [], []
        for data in layers:
            blob, ending = packed(data, dice, odd)
            described.append(self.keep(blob, LAYER_TYPE + ending))
            diff_ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        self.platform = {"architecture": ARCHES.get(platform.machine(), platform.machine()), "os": "linux"}
        config = {**self.platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.document(config, "application/vnd.oci.image.config.v1+json"),
                    "layers": described}
        self.id = manifest["config"]["digest"]
        self.manifest = self.document(manifest, manifest["mediaType"])
        self.manifest["platform"] = self.platform
        self.manifest["annotations"] = {"io.containerd.image.name": name,
                                        "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
        self.chain_id = chain_id(diff_ids)

    def keep(self, blob, media_type):
        name = hashlib.sha256(blob).hexdigest()
        self.blobs[name] = blob
        return {"mediaType": media_type, "digest": "sha256:" + name, "size": len(blob)}

    def document(self, content, media_type):
        return self.keep(json.dumps(content).encode(), media_type)


def index(images):
    return json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                       "manifests": [image.manifest for image in images]}).encode()


def write_layout(image, directory):
    os.makedirs(os.path.join(directory, "blobs", "sha256"))

    def write(name, data):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)

    for name, blob in image.blobs.items():
        write(os.path.join("blobs", "sha256", name), blob)
    write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    write("index.json", index([image]))


def write_archive(images, path):
    """One oci-archive of many images."""
    blobs = {name: blob for image in images for name, blob in image.blobs.items()}
    files = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index(images))]
    files += [("blobs/sha256/" + name, blob) for name, blob in blobs.items()]
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
