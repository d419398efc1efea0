#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# parents.py tar FILE               writes a layer of the entries on stdin
# parents.py serial DIRECTORY TAR... applies the layers, lowest first, to DIRECTORY/tree
# parents.py random SEED DIRECTORY  writes DIRECTORY/1.tar, ..., layers that lean on those beneath them, and
#                                   applies them as `serial` does
#
# Entries, a line each:    d PATH [mode=0755] [uid=0] [mtime=1000] [user.NAME=TEXT]
#                          f PATH [data=TEXT] [mode= ...]      l PATH to=TARGET       h PATH to=TARGET
#                          w PATH: deleted        o PATH: what lies beneath in this directory is hidden
#
# `serial` is the plainest way to apply layers: an overlay is mounted over the layers beneath with an empty
# upper, and each entry is made through the mount, by a process whose root it is, so that the kernel
# resolves links. A parent directory that is missing is made root's, 0755, of time 0; making something in a
# directory leaves its time as it was. Needs root, and a mount namespace that goes away.
import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile

XATTR = "SCHILY.xattr."


class Refused(Exception):
    pass


# ---- entries ----


def entry(kind, path, **fields):
    """A member of a tar, and its contents."""
    parent, _, name = path.rpartition("/")
    if kind in "wo":
        mark = ".wh." + name if kind == "w" else name + "/.wh..wh..opq"
        return tarfile.TarInfo((parent + "/" if parent else "") + mark), b""
    info = tarfile.TarInfo(path)
    info.type = {
        "d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE,
    }[kind]
    info.mode = int(fields.pop("mode", "0755" if kind == "d" else "0644"), 8)
    info.uid = info.gid = int(fields.pop("uid", 0))
    info.mtime = int(fields.pop("mtime", 1000))
    info.linkname = fields.pop("to", "")
    data = fields.pop("data", "").encode()
    info.size = len(data)
    for key, value in fields.items():
        info.pax_headers[XATTR + key] = value
    return info, data


def parse(lines):
    for line in lines:
        words = line.split()
        if words:
            yield entry(words[0], words[1], **dict(w.split("=", 1) for w in words[2:]))


def write_tar(path, entries):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))


def read_tar(path):
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            yield info, file.read() if file else b""


# ---- applying, with the mounted tree as root ----


def lookup(path):
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def keeping_time(directory, make):
    before = os.stat(directory)
    make()
    os.utime(directory, ns=(before.st_mtime_ns, before.st_mtime_ns))


def make_implied(path):
    os.mkdir(path)
    os.chown(path, 0, 0)  # one that is made in a setgid directory takes after it
    os.chmod(path, 0o755)
    os.utime(path, ns=(0, 0))


def remove(path, found):
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


passed = set()  # links that entries of this layer went through


def walk(path, make):
    """The directory that it means: what is missing is made, where `make` says so."""
    at, rest, links = "/", [n for n in path.split("/") if n not in ("", ".")], 0
    while rest:
        name = rest.pop(0)
        if name == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, name)
        found = lookup(here)
        if found and stat.S_ISLNK(found.st_mode):
            passed.add(here)
            links += 1
            target = os.readlink(here)
            at = "/" if target.startswith("/") else at
            rest = [n for n in target.split("/") if n not in ("", ".")] + rest
            if links > 40:
                raise Refused("links in a circle")
            continue
        if not found and make:
            keeping_time(at, lambda: make_implied(here))
        elif not found or not stat.S_ISDIR(found.st_mode):
            raise Refused(here)
        at = here
    return at


def set_metadata(path, info):
    link = info.issym()
    os.chown(path, info.uid, info.gid, follow_symlinks=False)
    if not link:
        os.chmod(path, info.mode)
        for name in os.listxattr(path):
            os.removexattr(path, name)
    for key, value in info.pax_headers.items():
        if key.startswith(XATTR):
            os.setxattr(path, key[len(XATTR):], value.encode())
    os.utime(path, ns=(info.mtime * 10**9,) * 2, follow_symlinks=False)


def create(path, info, data):
    found = lookup(path)
    if path in passed:
        raise Refused("what went through it would be lost, or not, as its entries are ordered")
    if info.islnk():
        place, _, name = info.linkname.strip("/").rpartition("/")
        target = os.path.join(walk(place, False), name)
        there = lookup(target)
        if not there or stat.S_ISDIR(there.st_mode) or target == path:
            raise Refused("no target")
        if found:
            remove(path, found)
        os.link(target, path, follow_symlinks=False)
        return
    if found and not (info.isdir() and stat.S_ISDIR(found.st_mode)):
        remove(path, found)
        found = None
    if info.issym():
        os.symlink(info.linkname, path)
    elif info.isdir() and not found:
        os.mkdir(path)
    elif info.isreg():
        with open(path, "wb") as file:
            file.write(data)
    set_metadata(path, info)


def apply_entry(info, data):
    parent, _, name = info.name.strip("/").rpartition("/")
    at = walk(parent, True)
    if name == ".wh..wh..opq":
        keeping_time(at, lambda: [remove(p.path, os.lstat(p.path)) for p in list(os.scandir(at))])
    elif name.startswith(".wh."):
        gone = os.path.join(at, name[4:])
        found = lookup(gone)
        if found:
            keeping_time(at, lambda: remove(gone, found))
    else:
        keeping_time(at, lambda: create(os.path.join(at, name), info, data))


def in_root(tree, entries):
    """Applies them in a process of its own; which of them could be."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(tree)
        os.chdir("/")
        for number, (info, data) in enumerate(entries):
            try:
                apply_entry(info, data)
                os.write(theirs, b"1")
            except (Refused, FileNotFoundError):
                os.write(theirs, b"0")
            except Exception as problem:  # it would be lost in a child
                sys.stderr.write("parents.py: entry %d, %s: %r\n" % (number, info.name, problem))
                os._exit(1)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answers:
        said = answers.read()
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
    return [e for e, ok in zip(entries, said) if ok == ord("1")]


# ---- layers on layers ----


class Stack:
    def __init__(self, directory):
        self.directory, self.layers = directory, []
        self.tree = os.path.join(directory, "tree")
        os.makedirs(self.tree)
        self.new_directory("empty")

    def new_directory(self, name):
        path = os.path.join(self.directory, name)
        make_implied(path)
        return path

    def mount(self, *upper):
        lowers = ":".join([*reversed(self.layers), os.path.join(self.directory, "empty")])
        options = "index=off,redirect_dir=off,metacopy=off,lowerdir=" + lowers
        for key, value in zip(("upperdir", "workdir"), upper):
            options += ",%s=%s" % (key, value)
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", self.tree], check=True)

    def push(self, entries):
        """One more layer; which entries could be applied."""
        number = len(self.layers) + 1
        upper, work = self.new_directory("upper%d" % number), self.new_directory("work%d" % number)
        self.mount(upper, work)
        applied = in_root(self.tree, entries)
        subprocess.run(["umount", self.tree], check=True)
        shutil.rmtree(work)
        # What could not be applied may have left directories on the way to it.
        if applied != entries:
            shutil.rmtree(upper)
            return self.push(applied)
        self.layers.append(upper)
        return applied


def serial(directory, tars):
    stack = Stack(directory)
    for path in tars:
        entries = list(read_tar(path))
        if stack.push(entries) != entries:
            sys.exit("parents.py: an entry of %s cannot be applied" % path)
    stack.mount()


# ---- layers by chance ----

# Where directories and links to them are, and where all else is.
PLACES, LEAVES = ("a", "b", "c", "d"), ("x", "y", "z")
TARGETS = ("a", "/b", "../c", "/a/b", "b/../c", "../../d/a", "a/b/c", "/d")


def random_entries(dice):
    def place(depth):
        return "/".join(dice.choice(PLACES) for _ in range(depth))

    def fields():
        made = {"uid": dice.choice((0, 7)), "mtime": dice.randrange(1, 10**9)}
        if dice.random() < 0.3:
            made["user.by"] = "%x" % dice.randrange(2**32)
        return made

    entries = []
    for _ in range(dice.randrange(4, 30)):
        where, leaf = place(dice.randrange(1, 4)), dice.choice(LEAVES)
        kind = dice.choice("dddffffflhh")
        if kind == "d":
            entries.append(entry("d", where, mode=dice.choice(("0755", "0700", "2775")), **fields()))
        elif kind == "l" and dice.random() < 0.8:
            entries.append(entry("l", where, to=dice.choice(TARGETS)))
        elif kind == "l":
            entries.append(entry("l", where + "/" + leaf, to=dice.choice(TARGETS)))
        elif kind == "f":
            entries.append(entry("f", where + "/" + leaf, data="%d" % dice.random_size(), **fields()))
        else:
            to = "%s/%s" % (place(dice.randrange(1, 3)), dice.choice(LEAVES))
            entries.append(entry("h", where + "/" + leaf, to=dice.choice(("", "/")) + to))
    # What a directory is comes before what is in it.
    entries.sort(key=lambda e: e[0].name)
    if dice.random() < 0.6:
        name = place(dice.randrange(1, 3))
        entries.insert(0, entry("o", name) if dice.random() < 0.4 else entry("w", name))
    return entries


class Dice(random.Random):
    def random_size(self):
        return self.randrange(10**6)


def write_random(seed, directory):
    dice = Dice(seed)
    stack = Stack(os.path.join(directory, "serial"))
    for number in range(1, dice.randrange(3, 6)):
        entries = stack.push(random_entries(dice))
        write_tar(os.path.join(directory, "%d.tar" % number), entries)
    stack.mount()


def main():
    command, *arguments = sys.argv[1:]
    if command == "tar":
        write_tar(arguments[0], parse(sys.stdin))
    elif command == "serial":
        serial(arguments[0], arguments[1:])
    elif command == "random":
        write_random(int(arguments[0]), arguments[1])
    else:
        sys.exit("parents.py: %s is neither tar nor serial nor random" % command)


if __name__ == "__main__":
    main()
