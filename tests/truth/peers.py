# SPDX-License-Identifier: Apache-2.0
"""peers: the trees that programs make of images, as listings: ours, and containerd's own applier.

A containerd of its own is started for this, with directories, configuration and socket of its own, and
stopped by its process id. Layers are unpacked by its "native" snapshotter, onto one directory after the
other: what "ctr images import" does without an overlayfs, and the only way in which it follows a parent's
symlinks and links to a parent's files.
"""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess

import images
import model

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.path.join(TOP, "build", "gcc-none")
OVERLAID = os.environ.get("OVERLAID", os.path.join(BUILD, "overlaid"))
TREELS = os.path.join(os.environ.get("TOOLS", os.path.join(BUILD, "tests", "tools")), "treels")
START_SECONDS, STEP_SECONDS = 30, 600
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """What a program said when it refused."""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, timeout=STEP_SECONDS, check=False, **options)
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Failed("%s: %s" % (os.path.basename(command[0]), words))
    return done.stdout


def listing(tree):
    lines = run(TREELS, tree).decode("ascii").split("\n")[:-1]
    return [re.sub(r" nlink=\d+", "", line, count=1) for line in lines]


def attempt(function, *arguments):
    """What it returns, or the failure."""
    try:
        return function(*arguments)
    except Failed as words:
        return words


# ---- ours ----


class Overlaid:
    """One store for all images that come."""

    name = "overlaid"
    view = model.Said

    def __init__(self, scratch):
        self.scratch = scratch
        self.options = ("--root", os.path.join(scratch, "root"), "--run", os.path.join(scratch, "run"),
                        "--durability", "none")

    def ov(self, *arguments):
        return run(OVERLAID, *arguments, *self.options)

    def layout_tree(self, layout, image_id, keep=False):
        self.ov("load", "--quiet", layout)
        tree = self.ov("image", "mount", image_id).decode().rstrip("\n")
        try:
            return listing(tree)
        finally:
            self.ov("image", "umount", image_id)
            if not keep:
                self.ov("rmi", image_id)

    def trees(self, some):
        """For each image its listing, or Failed."""
        layout = os.path.join(self.scratch, "layout")
        for image in some:
            images.write_layout(image, layout)
            got = attempt(self.layout_tree, layout, image.id)
            shutil.rmtree(layout)
            yield got

    def layout(self, image):
        return attempt(self.layout_tree, image.directory, image.id)

    def close(self):
        self.ov("gc")


# ---- containerd ----


class AsContainerd:
    """What containerd's applier makes otherwise, and says nothing of: a listing of what it should be.

    - A time before 1970 or after 2262 becomes 0 (archive/time.go). The archive says otherwise.
    - A directory's time is that of unpacking where it changed in a layer that has no entry for it, and
      where no layer describes it. That differs on each machine: we keep what the layers say. Its native
      snapshotter sets the times of directories before it copies what is in them: what lower layers
      say of a directory that is not empty cannot be seen in it.
    - A directory that no layer describes, made in one with the setgid bit, has its group. The layers
      do not say so; Docker and we give it to root.
    - Its native snapshotter copies the names of one symlink, device or fifo as inodes of their own.
    - A directory's entry adds to the xattrs of an earlier entry. layer.md: the attributes are replaced.
    """

    same = staticmethod(lambda node: node.kind == "f")

    @staticmethod
    def time(node, tree):
        if node.kind == "d" and (node.described < node.changed or not node.described):
            return "mtime=?"
        if node.kind == "d" and node.children and node.described != tree.layer:
            return "mtime=?"
        return model.Said.time(node, tree) if 0 <= node.mtime < 2**63 else "mtime=0.000000000"

    @staticmethod
    def group(node):
        return node.gid if node.kind != "d" or node.described else node.inherited

    @staticmethod
    def xattrs(node):
        return node.piled if node.kind == "d" else node.xattrs


# It collects no garbage: nothing holds the snapshots that are looked at.
CONFIG = """version = 2
disabled_plugins = [%s]
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "24h"
  mutation_threshold = 1000000000
"""
NOT_NEEDED = ("io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
              "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
              "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt")


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Containerd:
    """One daemon for each lot of images; what it made goes with it."""

    name = "containerd"
    view = AsContainerd

    def __init__(self, scratch):
        self.scratch, self.process = scratch, None
        self.ctr = ("ctr", "--address", self.path("sock"), "--namespace", "truth")

    def path(self, name):
        return os.path.join(self.scratch, name)

    def start(self):
        """It says when it is ready, as it would to systemd."""
        with open(self.path("config.toml"), "w", encoding="ascii") as file:
            file.write(CONFIG % ", ".join('"%s"' % plugin for plugin in NOT_NEEDED))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, open(self.path("log"), "wb") as log:
            told.bind(self.path("ready"))
            told.settimeout(START_SECONDS)
            self.process = subprocess.Popen(
                ("containerd", "--config", self.path("config.toml"), "--root", self.path("root"),
                 "--state", self.path("state"), "--address", self.path("sock")),
                env={**os.environ, "NOTIFY_SOCKET": self.path("ready")}, preexec_fn=die_with_parent,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            try:
                while b"READY=1" not in told.recv(4096):
                    pass
            except TimeoutError:
                with open(self.path("log"), encoding="utf-8", errors="replace") as file:
                    words = file.read()
                raise Failed("containerd does not start:\n" + words) from None

    def stop(self):
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in os.listdir(self.scratch):
            path = self.path(name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def snapshots(self, *arguments):
        return run(*self.ctr, "snapshots", "--snapshotter", "native", *arguments)

    def tree(self, image):
        self.snapshots("unpack", "--snapshotter", "native", image.manifest["digest"])
        key, target = "view-" + image.chain_id, self.path("tree")
        os.makedirs(target, exist_ok=True)
        self.snapshots("view", key, image.chain_id)
        run("sh", "-c", self.snapshots("mounts", target, key))
        try:
            return listing(target)
        finally:
            run("umount", target)

    def imported(self, archive, some):
        try:
            self.start()
            run(*self.ctr, "images", "import", "--no-unpack", "--all-platforms", "--digests", "--base-name",
                "localhost/truth", archive)
            return [attempt(self.tree, image) for image in some]
        finally:
            self.stop()

    def trees(self, some):
        archive = self.scratch + ".archive"
        images.write_archive(some, archive)
        try:
            return self.imported(archive, some)
        finally:
            os.unlink(archive)

    def layout(self, image):
        archive = self.scratch + ".archive"
        run("tar", "-C", image.directory, "-cf", archive, ".")
        try:
            return attempt(lambda: self.imported(archive, [image])[0])
        finally:
            os.unlink(archive)

    def close(self):
        self.stop()
