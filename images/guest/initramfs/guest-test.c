// The guest's side of a measurement: does disk requests and prints what they took in guest time.
// Every number of nanoseconds is a difference of CLOCK_MONOTONIC in the guest, never a host time.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BLOCK = 16 << 20, BUFFER_ALIGNMENT = 4096, WORD = sizeof(uint64_t) };

enum operation { READ, WRITE, MIXED };
enum pattern { RANDOM, SEQUENTIAL };

struct options {
  const char *path;
  enum operation operation;
  enum pattern pattern;
  uint64_t requests, block, seed, span, offset, length, count, nanoseconds;
  bool begin, total;
};

struct latency {
  uint64_t count, sum, min, max, start, end;
};

struct request {
  bool writes;
  uint64_t offset;
};

static const char *command = "";

static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void fail(const char *format, ...) {
  va_list arguments;
  // One stream for all lines, so that results and errors keep their order in a pipe.
  printf("guest-test %s: error: ", command);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  exit(1);
}

// Time and latencies

static uint64_t now(void) {
  struct timespec t;
  if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) fail("clock_gettime: %s", strerror(errno));
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void latency_add(struct latency *l, uint64_t begin, uint64_t end) {
  uint64_t took = end - begin;
  if (l->count == 0) l->start = begin;
  if (l->count == 0 || took < l->min) l->min = took;
  if (took > l->max) l->max = took;
  l->count++;
  l->sum += took;
  l->end = end;
}

// total is from the first begin to the last end; the others are of the single requests.
static void latency_print(const struct latency *l) {
  printf(" total_ns=%" PRIu64 " min_ns=%" PRIu64 " max_ns=%" PRIu64 " mean_ns=%" PRIu64, l->end - l->start,
         l->min, l->max, l->count ? l->sum / l->count : 0);
}

// Data and addresses, both from the seed

// splitmix64's output function.
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// What belongs at a byte offset depends on seed and offset only, so any block size can verify it.
static uint64_t expected_word(uint64_t seed, uint64_t offset) { return mix(mix(seed) ^ offset); }

static void fill(uint64_t *buffer, uint64_t seed, uint64_t offset, uint64_t length) {
  for (uint64_t i = 0; i < length / WORD; i++) buffer[i] = expected_word(seed, offset + i * WORD);
}

// Depends on the order of the words: exchanged blocks give another sum.
static uint64_t checksum(uint64_t sum, const uint64_t *buffer, uint64_t length) {
  for (uint64_t i = 0; i < length / WORD; i++) sum = mix(sum ^ buffer[i]);
  return sum;
}

// The same options give the same requests; verify relies on it.
static struct request request_at(const struct options *o, uint64_t index) {
  uint64_t draw = mix(mix(o->seed + 1) + index), blocks = o->span / o->block;
  uint64_t block = (o->pattern == SEQUENTIAL ? index : draw >> 1) % blocks;
  bool writes = o->operation == WRITE || (o->operation == MIXED && (draw & 1));
  return (struct request){.writes = writes, .offset = block * o->block};
}

// Files

static int open_target(const struct options *o, int flags) {
  int fd = open(o->path, flags | O_CLOEXEC);
  if (fd < 0) fail("open %s: %s", o->path, strerror(errno));
  return fd;
}

static uint64_t size_of(const struct options *o, int fd) {
  struct stat st;
  uint64_t size = 0;
  if (fstat(fd, &st) != 0) fail("stat %s: %s", o->path, strerror(errno));
  if (!S_ISBLK(st.st_mode)) return (uint64_t)st.st_size;
  if (ioctl(fd, BLKGETSIZE64, &size) != 0) fail("size of %s: %s", o->path, strerror(errno));
  return size;
}

// Opens for O_DIRECT requests and settles the span: all of the device unless told otherwise.
static int open_direct(struct options *o, int flags) {
  int fd = open_target(o, flags | O_DIRECT);
  uint64_t size = size_of(o, fd);
  if (o->span == 0) o->span = size;
  if (o->span > size) fail("span %" PRIu64 " exceeds the size %" PRIu64 " of %s", o->span, size, o->path);
  if (o->span < o->block) fail("span %" PRIu64 " is below the block size %" PRIu64, o->span, o->block);
  return fd;
}

static uint64_t *allocate(uint64_t length) {
  void *buffer = NULL;
  if (posix_memalign(&buffer, BUFFER_ALIGNMENT, length) != 0) fail("no memory for %" PRIu64 " bytes", length);
  memset(buffer, 0, length);
  return buffer;
}

static void transfer(int fd, struct request r, void *buffer, uint64_t length) {
  const char *what = r.writes ? "write" : "read";
  ssize_t done = r.writes ? pwrite(fd, buffer, length, (off_t)r.offset) : pread(fd, buffer, length, (off_t)r.offset);
  if (done < 0) fail("%s at %" PRIu64 ": %s", what, r.offset, strerror(errno));
  if ((uint64_t)done != length)
    fail("%s at %" PRIu64 ": %zd of %" PRIu64 " bytes", what, r.offset, done, length);
}

// Subcommands

static void run_io(struct options *o) {
  static const char *const names[] = {[READ] = "read", [WRITE] = "write", [MIXED] = "mixed"};
  struct latency latency = {0};
  uint64_t sum = 0, *buffer = allocate(o->block);
  int fd = open_direct(o, o->operation == READ ? O_RDONLY : O_RDWR);
  // For who measures real time from outside.
  if (o->begin) puts("io begin"), fflush(stdout);
  uint64_t begin = now();
  for (uint64_t i = 0; i < o->requests; i++) {
    struct request r = request_at(o, i);
    if (r.writes) fill(buffer, o->seed, r.offset, o->block);
    if (!o->total) begin = now();
    transfer(fd, r, buffer, o->block);
    if (!o->total) latency_add(&latency, begin, now());
    if (!r.writes) sum = checksum(sum, buffer, o->block);
  }
  printf("io op=%s requests=%" PRIu64 " block=%" PRIu64, names[o->operation], o->requests, o->block);
  // Reading the clock for each request takes the guest 256 ns, and the host far longer.
  if (o->total)
    printf(" total_ns=%" PRIu64, now() - begin);
  else
    latency_print(&latency);
  printf(" sum=%016" PRIx64 "\n", sum);
}

static void run_verify(struct options *o) {
  uint64_t checked = 0, *buffer = allocate(o->block);
  int fd;
  if (o->operation == READ) o->operation = WRITE; // reads leave nothing to verify
  fd = open_direct(o, O_RDONLY);
  for (uint64_t i = 0; i < o->requests; i++) {
    struct request r = request_at(o, i);
    if (!r.writes) continue;
    r.writes = false;
    transfer(fd, r, buffer, o->block);
    for (uint64_t w = 0; w < o->block / WORD; w++) {
      uint64_t offset = r.offset + w * WORD, expected = expected_word(o->seed, offset);
      if (buffer[w] != expected)
        fail("byte %" PRIu64 " has %016" PRIx64 " instead of %016" PRIx64, offset, buffer[w], expected);
    }
    checked++;
  }
  printf("verify requests=%" PRIu64 " block=%" PRIu64 " ok\n", checked, o->block);
}

static void run_fsync(struct options *o) {
  struct latency latency = {0};
  uint64_t *buffer = allocate(o->block);
  int fd;
  o->operation = WRITE;
  fd = open_direct(o, O_RDWR);
  for (uint64_t i = 0; i < o->requests; i++) {
    struct request r = request_at(o, i);
    fill(buffer, o->seed, r.offset, o->block);
    uint64_t begin = now();
    transfer(fd, r, buffer, o->block);
    if (fsync(fd) != 0) fail("fsync after write at %" PRIu64 ": %s", r.offset, strerror(errno));
    latency_add(&latency, begin, now());
  }
  printf("fsync requests=%" PRIu64 " block=%" PRIu64, o->requests, o->block);
  latency_print(&latency);
  putchar('\n');
}

static void run_flush(struct options *o) {
  int fd = open_target(o, O_RDWR);
  uint64_t begin = now();
  if (fsync(fd) != 0) fail("fsync %s: %s", o->path, strerror(errno));
  printf("flush total_ns=%" PRIu64 "\n", now() - begin);
}

// BLKDISCARD and BLKZEROOUT take the same argument; the range defaults to the whole device.
static void run_range(struct options *o, unsigned long request) {
  int fd = open_target(o, O_RDWR);
  uint64_t size = size_of(o, fd), begin;
  if (o->offset > size) fail("offset %" PRIu64 " exceeds the size %" PRIu64, o->offset, size);
  if (o->length == 0) o->length = size - o->offset;
  uint64_t range[2] = {o->offset, o->length};
  begin = now();
  if (ioctl(fd, request, range) != 0) fail("%" PRIu64 "+%" PRIu64 ": %s", o->offset, o->length, strerror(errno));
  printf("%s offset=%" PRIu64 " length=%" PRIu64 " total_ns=%" PRIu64 "\n", command, o->offset, o->length,
         now() - begin);
}

static void run_discard(struct options *o) { run_range(o, BLKDISCARD); }
static void run_zeroout(struct options *o) { run_range(o, BLKZEROOUT); }

static void run_sleep(struct options *o) {
  struct timespec t = {(time_t)(o->nanoseconds / 1000000000u), (long)(o->nanoseconds % 1000000000u)};
  uint64_t begin = now();
  for (uint64_t i = 0; i < o->count; i++)
    if (nanosleep(&t, NULL) != 0) fail("nanosleep: %s", strerror(errno));
  printf("sleep count=%" PRIu64 " ns=%" PRIu64 " total_ns=%" PRIu64 "\n", o->count, o->nanoseconds, now() - begin);
}

// Prints one attribute of the device, "-" if it has none (ubd has no serial).
static void print_attribute(const char *device, const char *name) {
  char path[256], value[256] = "";
  FILE *file;
  snprintf(path, sizeof path, "/sys/block/%s/%s", device, name);
  file = fopen(path, "r");
  if (file) {
    if (!fgets(value, sizeof value, file)) value[0] = 0;
    fclose(file);
  }
  value[strcspn(value, "\n")] = 0;
  printf("%s=%s\n", basename((char *)name), value[0] ? value : "-");
}

static void run_info(struct options *o) {
  static const char *const attributes[] = {
      "serial",
      "ro",
      "cache_type",
      "queue/write_cache",
      "queue/rotational",
      "queue/nr_requests",
      "queue/max_sectors_kb",
      "queue/max_segments",
      "queue/max_segment_size",
      "queue/physical_block_size",
      "queue/minimum_io_size",
      "queue/optimal_io_size",
      "queue/discard_granularity",
      "queue/discard_max_bytes",
      "queue/write_zeroes_max_bytes",
  };
  int fd = open_target(o, O_RDONLY), logical = 0;
  char *device = basename(strdup(o->path));
  printf("size=%" PRIu64 "\n", size_of(o, fd));
  if (ioctl(fd, BLKSSZGET, &logical) != 0) fail("block size of %s: %s", o->path, strerror(errno));
  printf("logical_block_size=%d\n", logical);
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) print_attribute(device, attributes[i]);
}

// Arguments

struct subcommand {
  const char *name;
  void (*run)(struct options *);
  bool device;
};

static const struct subcommand subcommands[] = {
    {"io", run_io, true},           {"verify", run_verify, true},   {"fsync", run_fsync, true},
    {"flush", run_flush, true},     {"discard", run_discard, true}, {"zeroout", run_zeroout, true},
    {"sleep", run_sleep, false},    {"info", run_info, true},
};

static const char usage[] =
    "usage: guest-test io|verify DEVICE [--op read|write|mixed] [--requests N] [--block BYTES]\n"
    "                            [--pattern random|sequential] [--seed S] [--span BYTES] [--begin] [--total]\n"
    "       guest-test fsync DEVICE [--requests N] [--block BYTES] [--pattern P] [--seed S] [--span BYTES]\n"
    "       guest-test flush|info DEVICE\n"
    "       guest-test discard|zeroout DEVICE [--offset BYTES] [--length BYTES]\n"
    "       guest-test sleep [--count N] [--ns N]\n";

static uint64_t number(const char *name, const char *text) {
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 0);
  if (errno || end == text || *end || *text == '-') fail("--%s: not a number: %s", name, text);
  return value;
}

static int choice(const char *name, const char *text, const char *const *choices) {
  for (int i = 0; choices[i]; i++)
    if (strcmp(text, choices[i]) == 0) return i;
  fail("--%s: unknown: %s", name, text);
}

static struct options parse(int argc, char **argv) {
  static const char *const operations[] = {"read", "write", "mixed", NULL};
  static const char *const patterns[] = {"random", "sequential", NULL};
  static const struct option names[] = {
      {"op", required_argument, NULL, 'o'},     {"pattern", required_argument, NULL, 'p'},
      {"requests", required_argument, NULL, 'r'}, {"block", required_argument, NULL, 'b'},
      {"seed", required_argument, NULL, 's'},   {"span", required_argument, NULL, 'S'},
      {"offset", required_argument, NULL, 'O'}, {"length", required_argument, NULL, 'L'},
      {"count", required_argument, NULL, 'c'},  {"ns", required_argument, NULL, 'n'},
      {"begin", no_argument, NULL, 'B'},        {"total", no_argument, NULL, 'T'},
      {NULL, 0, NULL, 0},
  };
  struct options o = {.requests = 1000, .block = 4096, .seed = 1, .count = 1000, .nanoseconds = 100000};
  int c, index = 0;
  opterr = 0;
  while ((c = getopt_long(argc, argv, "", names, &index)) != -1) {
    switch (c) {
    case 'o': o.operation = (enum operation)choice("op", optarg, operations); break;
    case 'p': o.pattern = (enum pattern)choice("pattern", optarg, patterns); break;
    case 'r': o.requests = number("requests", optarg); break;
    case 'b': o.block = number("block", optarg); break;
    case 's': o.seed = number("seed", optarg); break;
    case 'S': o.span = number("span", optarg); break;
    case 'O': o.offset = number("offset", optarg); break;
    case 'L': o.length = number("length", optarg); break;
    case 'c': o.count = number("count", optarg); break;
    case 'B': o.begin = true; break;
    case 'T': o.total = true; break;
    case 'n': o.nanoseconds = number("ns", optarg); break;
    default: fail("bad option: %s", argv[optind - 1]);
    }
  }
  if (o.block < 512 || o.block > MAX_BLOCK || o.block % 512)
    fail("--block: not a multiple of 512 up to %d: %" PRIu64, MAX_BLOCK, o.block);
  if (optind < argc) o.path = argv[optind++];
  if (optind < argc) fail("unexpected argument: %s", argv[optind]);
  return o;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fputs(usage, stdout);
    return 2;
  }
  command = argv[1];
  for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++) {
    if (strcmp(command, subcommands[i].name) != 0) continue;
    struct options o = parse(argc - 1, argv + 1);
    if (subcommands[i].device && !o.path) fail("no device given");
    if (!subcommands[i].device && o.path) fail("unexpected argument: %s", o.path);
    subcommands[i].run(&o);
    return 0;
  }
  fail("no such subcommand");
}
