// getrandom(2) for a simulated machine: a stream that depends on TTBLK_ENTROPY only.
//
// A User-Mode Linux kernel is linked to libc dynamically and draws all of its entropy (inode generations, stack
// canaries, UUIDs) by libc's getrandom. Preloaded, this makes a run reproducible to the last byte of every disk.
// Not for secrets: splitmix64 (Steele, Lea, Flood 2014) is a simulation's generator.
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

static uint64_t state;
static int seeded;

static uint64_t next(void) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

__attribute__((visibility("default"))) ssize_t getrandom(void *buffer, size_t length, unsigned int flags) {
  (void)flags;
  if (!seeded) {
    const char *seed = getenv("TTBLK_ENTROPY");
    state = seed ? strtoull(seed, NULL, 16) : 0;
    seeded = 1;
  }
  unsigned char *bytes = buffer;
  uint64_t word = 0;
  for (size_t i = 0; i < length; i++) {
    if (i % 8 == 0) word = next();
    bytes[i] = (unsigned char)(word >> (8 * (i % 8)));
  }
  return (ssize_t)length;
}
