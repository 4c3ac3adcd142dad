#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "CLinux.h"

// Memory that a client shares with us, and may cut off under our feet: 1000 disks with 32 regions each. What is never
// used costs nothing.
enum { GUARDS_MAX = 1 << 15 };

struct guard {
  _Atomic uintptr_t base;  // 0: vacant, 1: being filled in
  _Atomic size_t count;
  _Atomic bool is_broken;
};

static struct guard guards[GUARDS_MAX];
static _Atomic int guards_end;
static _Atomic unsigned faults;
static struct sigaction former;
static size_t page_size;

static struct guard *guard_of(uintptr_t address) {
  int end = atomic_load(&guards_end);
  for (int i = 0; i < end; i++) {
    uintptr_t base = atomic_load(&guards[i].base);
    if (base > 1 && address - base < atomic_load(&guards[i].count)) return &guards[i];
  }
  return NULL;
}

static void *cover(uintptr_t base, size_t count) {
  return mmap((void *)base, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
              0);
}

// What may be done in a signal handler only: atomics, and system calls that allocate nothing.
static void bus_error(int number, siginfo_t *info, void *context) {
  int saved = errno;
  uintptr_t address = (uintptr_t)info->si_addr;
  struct guard *guard = info->si_code == BUS_ADRERR ? guard_of(address) : NULL;
  if (guard) {
    atomic_store(&guard->is_broken, true);
    atomic_fetch_add(&faults, 1);
    // One page; or everything, if the file has pages of another size.
    if (cover(address & ~(page_size - 1), page_size) != MAP_FAILED ||
        cover(atomic_load(&guard->base), atomic_load(&guard->count)) != MAP_FAILED) {
      errno = saved;
      return;
    }
  }
  if (former.sa_flags & SA_SIGINFO) {
    former.sa_sigaction(number, info, context);
  } else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
    former.sa_handler(number);
  } else {
    // The access is repeated, and has its usual consequences.
    signal(SIGBUS, SIG_DFL);
  }
  errno = saved;
}

static void install(void) {
  page_size = (size_t)sysconf(_SC_PAGESIZE);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = bus_error;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigaction(SIGBUS, &action, &former);
}

int CLinux_guard(void *base, size_t count) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install);
  for (int i = 0; i < GUARDS_MAX; i++) {
    uintptr_t vacant = 0;
    if (!atomic_compare_exchange_strong(&guards[i].base, &vacant, 1)) continue;
    atomic_store(&guards[i].is_broken, false);
    atomic_store(&guards[i].count, count);
    atomic_store(&guards[i].base, (uintptr_t)base);
    int end = atomic_load(&guards_end);
    while (end <= i && !atomic_compare_exchange_weak(&guards_end, &end, i + 1)) continue;
    return i;
  }
  return -1;
}

void CLinux_unguard(int guard) {
  if (guard >= 0) atomic_store(&guards[guard].base, 0);
}

bool CLinux_is_broken(int guard) { return guard >= 0 && atomic_load(&guards[guard].is_broken); }

unsigned CLinux_guard_faults(void) { return atomic_load_explicit(&faults, memory_order_relaxed); }
