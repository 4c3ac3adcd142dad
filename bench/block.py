#!/usr/bin/env python3
"""Times ttblk serve beside qemu-storage-daemon: block.py TTBLK [--disk DIR] [--memory DIR] [--gibibytes N]
[--rounds N] [--milliseconds N] [--out DIR] [--medium TEXT]... [--load TEXT]... [TABLE]...

Tables: raw, cow, scattered, touch, fio, queues, idle, nbd. One front-end (ttblk bench block) loads one back-end at a
time; in each row ours and each engine of the peer's take turns, every time in a new process on a file of the same
contents, and the medians are compared: ours against the best of the peer's engines. Processor time is that of the
back-end's process.
With --medium and --load, only rows of raw, cow and scattered in whose name such a text is ("cached", "128 KiB").
Writes what it measured to DIR/block.csv, and a plot beside it where there is gnuplot.
"""
import argparse, csv, json, os, shutil, signal, statistics, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("ttblk")
parser.add_argument("--disk", default="/var/tmp")
parser.add_argument("--memory", default="/dev/shm")
parser.add_argument("--gibibytes", type=int, default=1)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--milliseconds", type=int, default=1000)
parser.add_argument("--out", default="bench/out")
parser.add_argument("--medium", action="append")
parser.add_argument("--load", action="append")
parser.add_argument("tables", nargs="*")
options = parser.parse_intermixed_args()
size = options.gibibytes << 30
ticks = os.sysconf("SC_CLK_TCK")
loads = [  # name, pattern, bytes, depth
    ("4 KiB random read, depth 1", "randread", 4096, 1),
    ("4 KiB random read, depth 32", "randread", 4096, 32),
    ("4 KiB random write, depth 1", "randwrite", 4096, 1),
    ("4 KiB random write, depth 32", "randwrite", 4096, 32),
    ("128 KiB sequential read, depth 8", "read", 131072, 8),
    ("128 KiB sequential write, depth 8", "write", 131072, 8),
]
media = ["ext4 O_DIRECT", "ext4 cached", "tmpfs"]


class Backend:
    """A process that serves one disk; gone at the end of a with block."""

    def __init__(self, command, socket):
        self.socket = socket
        if os.path.exists(socket):
            os.unlink(socket)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while not os.path.exists(socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} does not listen: {self.process.stderr.read().decode()}")
            time.sleep(0.02)
        time.sleep(0.1)

    def processor(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def ours(image, format, direct, socket, more=""):
    disk = f"name=d,image={image},socket={socket},format={format}" + (",direct" if direct else "") + more
    return [options.ttblk, "serve", "--disk", disk]


def peers(image, format, direct, engine, socket):
    cache = "on" if direct else "off"
    file = f"driver=file,filename={image},node-name=f,aio={engine},cache.direct={cache}"
    command = ["qemu-storage-daemon", "--object", "iothread,id=t", "--blockdev", file]
    node = "f"
    if format != "raw":
        command += ["--blockdev", f"driver={format},file=f,node-name=q,cache.direct={cache}"]
        node = "q"
    return command + [
        "--export", f"type=vhost-user-blk,id=e,node-name={node},addr.type=unix,addr.path={socket},writable=on,"
        "num-queues=2,iothread=t"]


def load(backend, pattern, block, depth, queues=1, touch=None, poll=False):
    """(requests a second, microseconds of the back-end's processor time for each)."""
    command = [options.ttblk, "bench", "block", backend.socket, "--pattern", pattern, "--size", str(block), "--depth",
               str(depth), "--queues", str(queues), "--milliseconds", str(options.milliseconds), "--json"]
    if touch:
        command += ["--touch-once", str(touch)]
    if poll:
        command.append("--poll")
    before = backend.processor()
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    spent = backend.processor() - before
    # What came before the measured part costs, too: an eleventh of all.
    requests = result["requests"] * (1 if touch else 1.1)
    return result["requestsPerSecond"], spent * 1e6 / max(1, requests)


def median(values):
    return statistics.median(values)


records = []


def compare(table, name, contestants, run):
    """Lets contestants take turns; prints ours against the best of the others."""
    rates = {who: [] for who, _ in contestants}
    costs = {who: [] for who, _ in contestants}
    for _ in range(options.rounds):
        for who, prepare in contestants:
            command, socket = prepare()
            with Backend(command, socket) as backend:
                rate, cost = run(backend)
            rates[who].append(rate)
            costs[who].append(cost)
    for who, _ in contestants:
        records.append([table, name, who, median(rates[who]), min(rates[who]), max(rates[who]), median(costs[who])])
    best = max((who for who in rates if who != "ttblk"), key=lambda who: median(rates[who]))
    rate, cost = median(rates["ttblk"]) / median(rates[best]), median(costs["ttblk"]) / median(costs[best])
    print(f"| {name} | {median(rates['ttblk']):,.0f} ({min(rates['ttblk']):,.0f} to {max(rates['ttblk']):,.0f}) "
          f"| {median(rates[best]):,.0f} ({min(rates[best]):,.0f} to {max(rates[best]):,.0f}), {best} "
          f"| {rate:.2f} | {median(costs['ttblk']):.1f}; {median(costs[best]):.1f} | {cost:.2f} |", flush=True)
    return rate, cost


def folder_of(medium):
    path = os.path.join(options.memory if medium == "tmpfs" else options.disk, "ttblk-bench-block")
    os.makedirs(path, exist_ok=True)
    return path


def make_base(folder):
    """Random bytes: no file system and no format can leave any of them out."""
    path = folder + "/base.img"
    if not os.path.exists(path) or os.path.getsize(path) != size:
        with open(path, "wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
    os.utime(path, (1700000000, 1700000000))
    return path


def engines(medium):
    return ["io_uring", "native", "threads"] if medium == "ext4 O_DIRECT" else ["io_uring", "threads"]


def heading(title):
    print(f"\n{title}\n\n| load | ours, requests a second | qemu-storage-daemon's best | times | us a request | ratio |\n"
          "|---|---|---|---|---|---|", flush=True)


def summary(ratios):
    rates, costs = [rate for rate, _ in ratios], [cost for _, cost in ratios]
    print(f"\n{len(rates)} rows: times {min(rates):.2f} to {max(rates):.2f}, median {median(rates):.2f}; "
          f"processor {min(costs):.2f} to {max(costs):.2f}, median {median(costs):.2f}", flush=True)


def fill(command, socket, block):
    """Writes half of all blocks, in an order without a pattern: an overlay that is neither empty nor full."""
    with Backend(command, socket) as backend:
        subprocess.run([options.ttblk, "bench", "block", socket, "--pattern", "randwrite", "--size", str(block), "--depth",
                        "8", "--touch-once", str(size // block // 2)], check=True, capture_output=True)


def copy(source, target):
    """Page by page, for the reason that `warm` has, and without the holes."""
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        end, length = 0, os.fstat(old.fileno()).st_size
        new.truncate(length)
        while end < length:
            try:
                start = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            old.seek(start)
            new.seek(start)
            for _ in range(start, end, 4096):
                new.write(old.read(4096))


def settle(folder):
    """Writes everything back, and waits until the file system has given back what was freed, too."""
    os.sync()
    number = os.stat(folder).st_dev
    path, before = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat", None
    while os.path.exists(path):
        with open(path) as file:
            now = file.read().split()[11:15]  # discards
        if now == before:
            return
        before = now
        time.sleep(0.5)


def warm(path):
    """Whoever is first in a row of cached files would have to read them from the disk. By small reads, as a guest
    does: from large ones the page cache gets folios of megabytes, in which each write of 4 KiB takes ten times as
    long, whoever makes it (ext4 of Linux 6.18 looks at all blocks of a folio)."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while file.read(4096):
            pass


def chosen(names, texts):
    return [name for name in names if any(text in str(name) for text in texts or [""])]


def rows(table, wanted=loads, block=131072, title="Half-filled overlay (UML COW; qcow2)"):
    """One for each load and medium. A run with an overlay has one of its own: what it writes, no other one reads."""
    ratios = []
    for medium in chosen(media, options.medium):
        folder = folder_of(medium)
        base, direct = make_base(folder), medium == "ext4 O_DIRECT"
        cow, qcow2, socket = folder + "/o.cow", folder + "/o.qcow2", folder + "/s"
        first = {cow: folder + "/first.cow", qcow2: folder + "/first.qcow2"}
        if table != "raw":
            make_overlays(base, first[cow], first[qcow2])
            fill(ours(first[cow], "uml-cow", False, socket), socket, block)
            fill(peers(first[qcow2], "qcow2", False, "threads", socket), socket, block)
        if medium == "ext4 cached":
            warm(base)
        heading(f"{title}, {medium}")

        def prepared(command, image):
            if table != "raw":
                copy(first[image], image)
                settle(folder)
            return command, socket

        for name, pattern, length, depth in chosen(wanted, options.load):
            if table == "raw":
                mine, its, formats = base, base, ("raw", "raw")
            else:
                mine, its, formats = cow, qcow2, ("uml-cow", "qcow2")
            contestants = [("ttblk", lambda: prepared(ours(mine, formats[0], direct, socket), mine))]
            for engine in engines(medium):
                contestants.append((engine, lambda engine=engine: prepared(
                    peers(its, formats[1], direct, engine, socket), its)))
            ratios.append(compare(f"{table} {medium}", name, contestants,
                                  lambda backend: load(backend, pattern, length, depth)))
        for path in [*first, *first.values()]:
            if os.path.exists(path):
                os.unlink(path)
    summary(ratios)


def scattered():
    """The worst that can be read: every other page from another file, anywhere, on average."""
    rows("scattered", [row for row in loads if row[1] == "read"], 4096,
         "Overlay of which half was written at random, 4 KiB at a time")


def make_overlays(base, cow, qcow2):
    for path in (cow, qcow2):
        if os.path.exists(path):
            os.unlink(path)
    subprocess.run([options.ttblk, "image", "create", cow, "--backing", base], check=True, capture_output=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", qcow2], check=True)


def touch():
    """Every write is the first one to its page or cluster, of an overlay that was just made."""
    folder = folder_of("ext4 O_DIRECT")
    base, socket = make_base(folder), folder + "/s"
    cow, qcow2 = folder + "/o.cow", folder + "/o.qcow2"
    heading("First touch: new overlay, raw base, ext4 O_DIRECT")

    def fresh(command):
        make_overlays(base, cow, qcow2)
        settle(folder)
        return command, socket

    contestants = [("ttblk", lambda: fresh(ours(cow, "uml-cow", True, socket)))]
    for engine in engines("ext4 O_DIRECT"):
        contestants.append((engine, lambda engine=engine: fresh(peers(qcow2, "qcow2", True, engine, socket))))
    compare("touch", "4 KiB random write, depth 32", contestants,
            lambda backend: load(backend, "randwrite", 4096, 32, touch=min(60000, size // 4096)))
    for path in (cow, qcow2):
        os.unlink(path)


def fio_rate(file, pattern, block, depth, busy=False):
    """What fio gets, beside a process that keeps a processor busy if told so."""
    command = ["fio", "--name=x", f"--filename={file}", f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}",
               "--ioengine=io_uring", "--direct=1", f"--runtime={options.milliseconds}ms", "--time_based",
               "--output-format=json", "--norandommap", "--randrepeat=0"]
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        job = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["jobs"][0]
    finally:
        if other:
            other.kill()
            other.wait()
    return job["read"]["iops"] + job["write"]["iops"]


def fio():
    """What fio gets from the file itself, with the same engine and depth. Ours by a front-end that sleeps until it is
    called, as a guest does, beside fio; and by one that looks for completions all the time, which keeps a processor
    busy, beside fio with a process that does the same."""
    folder = folder_of("ext4 O_DIRECT")
    base, socket = make_base(folder), folder + "/s"
    print("\nAgainst fio on the file itself, ext4 O_DIRECT, io_uring\n\n"
          "| load | ours | fio | ratio | ours, front-end polls | fio, a processor busy | ratio | to fio |\n"
          "|---|---|---|---|---|---|---|---|")
    for name, pattern, block, depth in loads:
        def mine(poll):
            with Backend(ours(base, "raw", True, socket, ",engine=io_uring"), socket) as backend:
                return load(backend, pattern, block, depth, poll=poll)[0]

        runs = {"ttblk": lambda: mine(False), "fio": lambda: fio_rate(base, pattern, block, depth),
                "ttblk, polled": lambda: mine(True), "fio, busy": lambda: fio_rate(base, pattern, block, depth, busy=True)}
        rates = {who: [] for who in runs}
        for _ in range(options.rounds):
            for who, run in runs.items():
                rates[who].append(run())
        records.extend(["fio", name, who, median(values), min(values), max(values), 0] for who, values in rates.items())
        sleeps, its, polls, beside = [f"{median(x):,.0f} ({min(x):,.0f} to {max(x):,.0f})" for x in rates.values()]
        slow, top, fast, bound = [median(x) for x in rates.values()]
        print(f"| {name} | {sleeps} | {its} | {slow / top:.2f} | {polls} | {beside} | {fast / bound:.2f} "
              f"| {fast / top:.2f} |", flush=True)


def queues():
    folder = folder_of("tmpfs")
    base, socket = make_base(folder), folder + "/s"
    rates = {1: [], 2: []}
    for _ in range(options.rounds):
        for count in rates:
            with Backend(ours(base, "raw", False, socket), socket) as backend:
                rates[count].append(load(backend, "randread", 4096, 32, queues=count)[0])
    one, two = median(rates[1]), median(rates[2])
    records.append(["queues", "1", "ttblk", one, min(rates[1]), max(rates[1]), 0])
    records.append(["queues", "2", "ttblk", two, min(rates[2]), max(rates[2]), 0])
    print(f"\nTwo queues, tmpfs, 4 KiB random read, depth 32: {two:,.0f} a second, one queue {one:,.0f}: "
          f"{two / one:.2f} times (the front-end's threads share the {os.cpu_count()} processors)", flush=True)


def nbd():
    """nbdcopy of a whole disk in memory to nowhere: four connections, with and without TLS."""
    folder = folder_of("tmpfs")
    base, socket = make_base(folder), folder + "/s"
    with open(folder + "/keys.psk", "w") as file:
        file.write(f"alice:{os.urandom(32).hex()}\n")
    tls = ["--object", f"tls-creds-psk,id=t,endpoint=server,dir={folder}", "--tls-creds", "t"]
    peer = ["qemu-nbd", "-f", "raw", "-t", "-e", "8", "-x", "d", "-k", socket, base]
    mine = [options.ttblk, "serve", "--disk", f"name=d,image={base},format=raw,nbd=unix:{socket}"]
    print(f"\nnbdcopy of {options.gibibytes} GiB from tmpfs, seconds\n\n| | ours | qemu-nbd | times |\n|---|---|---|---|")
    for name, secure in [("plain", False), ("TLS, shared key", True)]:
        uri = f"nbds+unix://alice@/d?socket={socket}&tls-psk-file={folder}/keys.psk" if secure else \
            f"nbd+unix:///d?socket={socket}"
        commands = {"ttblk": mine + (["--tls-psk", folder + "/keys.psk"] if secure else []),
                    "qemu-nbd": peer + (tls if secure else [])}
        times = {who: [] for who in commands}
        for _ in range(options.rounds):
            for who, command in commands.items():
                with Backend(command, socket):
                    begin = time.monotonic()
                    subprocess.run(["nbdcopy", uri, "null:"], check=True)
                    times[who].append(time.monotonic() - begin)
        for who, values in times.items():
            records.append(["nbd", name, who, median(values), min(values), max(values), 0])
        cells = [f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in times.values()]
        print(f"| {name} | {cells[0]} | {cells[1]} | {median(times['qemu-nbd']) / median(times['ttblk']):.2f} |",
              flush=True)
    os.unlink(folder + "/keys.psk")


def idle():
    """A thousand disks that nobody uses, and wake-ups of one whose client does nothing."""
    folder = folder_of("tmpfs")
    count = 1000
    base = folder + "/idle.img"
    with open(base, "wb") as file:
        file.truncate(1 << 30)
    with open(folder + "/idle.toml", "w") as file:
        for index in range(count):
            cow = f"{folder}/idle{index}.cow"
            if not os.path.exists(cow):
                subprocess.run([options.ttblk, "image", "create", cow, "--backing", base], check=True,
                               capture_output=True)
            file.write(f'[[disk]]\nname = "d{index}"\nimage = "{cow}"\nsocket = "{folder}/i{index}"\n')
    process = subprocess.Popen(["prlimit", "--nofile=8192", options.ttblk, "serve", "--config", folder + "/idle.toml"],
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    # What it does besides after it has said that it is ready.
    time.sleep(1)
    with open(f"/proc/{process.pid}/status") as file:
        lines = file.read().split("\n")

    def field(name):
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
    before = field("voluntary_ctxt_switches")
    time.sleep(2)
    with open(f"/proc/{process.pid}/status") as file:
        lines = file.read().split("\n")
    print(f"\n{count} idle disks: {field('VmRSS') / 1024:.0f} MiB, {descriptors / count:.2f} descriptors each, "
          f"{field('voluntary_ctxt_switches') - before} wake-ups in 2 s", flush=True)
    process.send_signal(signal.SIGTERM)
    process.wait()
    for name in os.listdir(folder):
        if name.startswith("idle") or (name.startswith("i") and name[1:].isdigit()):
            os.unlink(folder + "/" + name)


def plot():
    os.makedirs(options.out, exist_ok=True)
    path = options.out + "/block.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "load", "who", "requests a second", "least", "most", "us a request"])
        writer.writerows(records)
    print(f"\n{path}")
    if not shutil.which("gnuplot"):
        return
    best = {}
    for table, name, who, rate, *_ in records:
        if table.startswith(("raw", "cow", "scattered")):
            row = best.setdefault((table, name), {"ttblk": 0, "peer": 0})
            key = "ttblk" if who == "ttblk" else "peer"
            row[key] = max(row[key], rate)
    if not best:
        return
    lines = "".join(f'"{table}, {name}" {row["ttblk"]} {row["peer"]}\n' for (table, name), row in best.items())
    script = f"""set terminal pngcairo size 1200,900; set output '{options.out}/block.png'
set style data histogram; set style histogram clustered gap 1; set style fill solid 0.8; set logscale y
set xtics rotate by 60 right font ',8'; set ylabel 'requests a second'; set bmargin 18; set grid y
$data << EOD
{lines}EOD
plot $data using 2:xtic(1) title 'ttblk', '' using 3 title 'qemu-storage-daemon, best engine'
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(f"{options.out}/block.png")


tables = {"raw": lambda: rows("raw", title="Raw"), "cow": lambda: rows("cow"), "scattered": scattered, "touch": touch,
          "fio": fio, "queues": queues, "idle": idle, "nbd": nbd}
for wanted, names in [(options.tables, tables), (options.medium, media), (options.load, [row[0] for row in loads])]:
    for text in wanted or []:
        if not chosen(names, [text]) or (names is tables and text not in tables):
            parser.error(f"'{text}' is none of: {'; '.join(names)}")
try:
    for name in options.tables or tables:
        tables[name]()
    plot()
finally:
    for medium in media:
        shutil.rmtree(folder_of(medium), ignore_errors=True)
