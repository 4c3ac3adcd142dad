#!/usr/bin/env python3
"""Times ttblk image beside uml_moo, cp and qemu-img: image.py TTBLK [--folder DIR]... [--gibibytes N] [--rounds N] [ROW]...

Every row runs ours and its peers in turn, on the same files, and prints the median of wall and processor time; what is
timed ends with the data on the medium (fsync), for peers too. Files are removed; nothing is run twice at once.
"""
import argparse, os, random, resource, shutil, statistics, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("ttblk")
parser.add_argument("--folder", action="append", default=[])
parser.add_argument("--gibibytes", type=int, default=4)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("rows", nargs="*")
options = parser.parse_intermixed_args()
size = options.gibibytes << 30
BITMAP, PAGE = 8192, 4096
DATA = (BITMAP + size // 4096 + PAGE - 1) // PAGE * PAGE


def make_base(path):
    block = bytearray(os.urandom(1 << 20))
    with open(path, "wb") as file:
        for index in range(size >> 20):
            block[:8] = (index + 1).to_bytes(8, "little")
            file.write(block)
        os.fsync(file.fileno())
    os.utime(path, (1700000000, 1700000000))


def make_cow(path, base, runs, seed):
    """A COW file with these (sector, count) runs, written as UML writes it: data, then bits."""
    generator = random.Random(seed)
    payload = os.urandom(1 << 20)
    bitmap = bytearray(size // 4096)
    subprocess.run([options.ttblk, "image", "create", path, "--backing", base], check=True)
    with open(path, "r+b") as file:
        for sector, count in runs:
            offset = generator.randrange((1 << 20) - count * 512 + 1)
            file.seek(DATA + sector * 512)
            file.write(payload[offset : offset + count * 512])
            for one in range(sector, sector + count):
                bitmap[one >> 3] |= 1 << (one & 7)
        file.seek(BITMAP)
        file.write(bitmap)
        os.fsync(file.fileno())


def sparse_runs():
    sectors = size // 512
    return [(sector, 1) for sector in sorted(random.Random(1).sample(range(sectors), sectors // 100))]


def dense_runs():
    return [(sector, 128) for sector in range(0, size // 512, 256)]


def peak_memory(process):
    """The largest resident set so far, KiB: wait4 would count this program's own, from before exec."""
    try:
        with open(f"/proc/{process.pid}/status") as status:
            return max((int(line.split()[1]) for line in status if line.startswith("VmHWM")), default=0)
    except OSError:
        return 0


def timed(steps):
    """Runs commands one after the other; (wall, processor, largest resident set) of all of them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    largest = 0
    for command in steps:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while True:
            try:
                process.wait(0.02)
                break
            except subprocess.TimeoutExpired:
                largest = max(largest, peak_memory(process))
        if process.returncode != 0:
            sys.exit(f"{command}: exit {process.returncode}: {process.stderr.read().decode()}")
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, largest


def warm_memory():
    """Virtual machines give freed memory back to their host, and what touches it again first pays for that, up to a
    second for each GiB: as much as a contestant needs is touched just before it, so that all find the same."""
    path = f"/dev/shm/ttblk-bench-warm-{os.getpid()}"
    block = bytes(1 << 20)
    try:
        with open(path, "wb") as file:
            for _ in range((size >> 20) * 3 // 2):
                file.write(block)
    finally:
        os.unlink(path)


def row(name, contestants, prepare, warm=True):
    """`contestants`: (label, steps); the first is ours. `warm`: they fill memory that is free now. Those that write
    what the cache has already find it the same without, and the memory that goes back to the host takes a processor."""
    results = {label: [] for label, _ in contestants}
    for _ in range(options.rounds):
        for label, steps in contestants:
            prepare(label)
            os.sync()
            if warm:
                warm_memory()
            results[label].append(timed(steps))
    ours = statistics.median(wall for wall, _, _ in results[contestants[0][0]])
    for label, _ in contestants:
        walls = [wall for wall, _, _ in results[label]]
        cpu = statistics.median(cpu for _, cpu, _ in results[label])
        resident = max(largest for _, _, largest in results[label])
        median = statistics.median(walls)
        ratio = "" if label == contestants[0][0] else f"{median / ours:.2f} times ours"
        print(
            f"| {name} | {label} | {median:.2f} s ({min(walls):.2f} to {max(walls):.2f}) | {cpu:.2f} s |"
            f" {resident / 1024:.0f} MiB | {ratio} |",
            flush=True,
        )


def remove(*paths):
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)


def bench(folder):
    work = os.path.join(folder, f"ttblk-bench-{os.getpid()}")
    os.mkdir(work)
    at = lambda name: os.path.join(work, name)
    ttblk = options.ttblk
    kind = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, text=True).stdout.strip()
    wanted = lambda name: not options.rows or name in options.rows
    try:
        make_base(at("base"))
        out = at("out")
        clean = lambda _: remove(out)
        fsync = ["sync", out]
        for shape, runs in (("sparse", sparse_runs), ("dense", dense_runs)):
            if not wanted("merge") and not (wanted("commit") and shape == "dense"):
                continue
            make_cow(at("cow"), at("base"), runs(), 7)
            if wanted("merge"):
                row(
                    f"merge, {shape}, {kind}",
                    [
                        ("ttblk image merge", [[ttblk, "image", "merge", at("cow"), out]]),
                        ("cp of the base, sync", [["cp", "--reflink=never", at("base"), out], fsync]),
                        ("uml_moo, sync", [["uml_moo", at("cow"), out], fsync]),
                    ],
                    clean,
                )
            if wanted("commit") and shape == "dense":
                # The same bytes: what the COW file has, into a file that is there.
                with open(at("bytes"), "wb") as file:
                    with open(at("base"), "rb") as base:
                        for _ in range(size >> 21):
                            file.write(base.read(1 << 20))
                    os.fsync(file.fileno())
                shutil.copyfile(at("cow"), at("cow0"))
                shutil.copyfile(at("bytes"), at("target"))

                def restore(_):
                    subprocess.run(["cp", "--sparse=always", at("cow0"), at("cow")], check=True)
                    subprocess.run(["cp", "--sparse=always", at("cow0"), at("cow1")], check=True)
                    os.utime(at("base"), (1700000000, 1700000000))

                row(
                    f"commit, dense, {kind}",
                    [
                        ("ttblk image commit", [[ttblk, "image", "commit", at("cow")]]),
                        (
                            "ttblk image commit --keep-space",
                            [[ttblk, "image", "commit", "--keep-space", at("cow")]],
                        ),
                        (
                            "dd of as many bytes, conv=fsync",
                            [["dd", f"if={at('bytes')}", f"of={at('target')}", "bs=64k", "conv=notrunc,fsync", "status=none"]],
                        ),
                        (
                            "dd of as many bytes, conv=fsync; rm of the COW file",
                            [
                                ["dd", f"if={at('bytes')}", f"of={at('target')}", "bs=64k", "conv=notrunc,fsync", "status=none"],
                                ["rm", at("cow1")],
                            ],
                        ),
                        ("uml_moo -d, sync", [["uml_moo", "-d", at("cow")], ["sync", at("base")]]),
                    ],
                    restore,
                    warm=False,
                )
                remove(at("cow0"), at("cow1"), at("bytes"), at("target"))
            remove(at("cow"))
        if wanted("convert"):
            qemu = ["qemu-img", "convert", "-W", "-m", "16"]
            row(
                f"convert raw to qcow2, {kind}",
                [
                    ("ttblk image convert", [[ttblk, "image", "convert", "--to", "qcow2", at("base"), out]]),
                    ("qemu-img convert -W -m 16, sync", [qemu + ["-f", "raw", "-O", "qcow2", at("base"), out], fsync]),
                ],
                clean,
            )
            clean("")
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", at("base"), at("qcow2")], check=True)
            row(
                f"convert qcow2 to raw, {kind}",
                [
                    ("ttblk image convert", [[ttblk, "image", "convert", "--to", "raw", at("qcow2"), out]]),
                    ("qemu-img convert -W -m 16, sync", [qemu + ["-f", "qcow2", "-O", "raw", at("qcow2"), out], fsync]),
                ],
                clean,
            )
            remove(at("qcow2"), out)
        if wanted("compress"):
            # A quarter of the size: compression is slow, and the base does not compress.
            with open(at("text"), "wb") as file:
                line = b"".join(b"%d the quick brown fox jumps over the lazy dog\n" % n for n in range(20000))
                for _ in range((size >> 2) // len(line)):
                    file.write(line)
                os.fsync(file.fileno())
            row(
                f"convert raw to compressed qcow2, {kind}",
                [
                    ("ttblk image convert", [[ttblk, "image", "convert", "--to", "qcow2", "--compress", "deflate", at("text"), out]]),
                    ("qemu-img convert -c -W -m 16, sync", [["qemu-img", "convert", "-c", "-W", "-m", "16", "-f", "raw", "-O", "qcow2", at("text"), out], fsync]),
                ],
                clean,
            )
            remove(at("text"), out)
        if wanted("empty"):
            remove(at("base"))
            with open(at("huge"), "wb") as file:
                file.truncate(8 << 40 if kind != "ext2/ext3" else (8 << 40) - (1 << 30))
            with open(at("huge.raw"), "wb") as file:
                file.truncate((8 << 40) - (64 << 30))
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", at("empty.qcow2"), str(8 << 40)], check=True)
            subprocess.run([ttblk, "image", "create", at("empty.cow"), "--backing", at("huge.raw")], check=True)
            for name in ("empty.qcow2", "empty.cow"):
                row(f"map an empty 8 TiB {name}, {kind}", [("ttblk image map", [[ttblk, "image", "map", at(name)]])], clean)
                row(
                    f"convert an empty 8 TiB {name} to qcow2, {kind}",
                    [("ttblk image convert", [[ttblk, "image", "convert", "--to", "qcow2", at(name), out]])],
                    clean,
                )
    finally:
        shutil.rmtree(work)


print("| what | who | wall | processor | largest resident set | ratio |")
print("|---|---|---|---|---|---|")
for folder in options.folder or ["/var/tmp", "/dev/shm"]:
    bench(folder)
