// An io_uring, with the few requests that disks need. Opaque: liburing.h stays inside, because Swift cannot see two
// copies of its structures, and because its inline functions are macros and unions.
#ifndef CURING_H
#define CURING_H

#include <stdbool.h>
#include <stdint.h>

typedef struct CUring CUring;

struct CUring_completion {
  uint64_t data;
  int32_t result;
};

// A ring for `entries` requests at a time and twice as many completions; the kernel rounds both up. Returns 0, or an
// errno value: ENOSYS and EPERM where io_uring is not there or not allowed.
int CUring_create(unsigned entries, CUring **ring);
// Whatever was under way is cancelled, some time later.
void CUring_destroy(CUring *ring);
// The calling thread is the only one that uses the ring from now on. Returns 0, or an errno value.
int CUring_enable(CUring *ring);
unsigned CUring_completion_capacity(const CUring *ring);

// How many requests can be prepared before the next CUring_enter.
unsigned CUring_space(const CUring *ring);
// Each prepares one request; CUring_space was not 0. `data` comes back with its completion. `parts` is a list of struct
// iovec, which this header leaves to others to declare.
// By a worker: a thread of the kernel carries it out, whether it would have to wait or not.
void CUring_read(CUring *ring, int descriptor, const void *parts, unsigned count, uint64_t offset,
                 bool by_worker, uint64_t data);
void CUring_write(CUring *ring, int descriptor, const void *parts, unsigned count, uint64_t offset,
                  uint64_t data);
void CUring_synchronize(CUring *ring, int descriptor, uint64_t data);
void CUring_zero(CUring *ring, int descriptor, uint64_t offset, uint64_t count, bool unmap, uint64_t data);
// Reports once that a descriptor is readable, at once if it is.
void CUring_poll(CUring *ring, int descriptor, uint64_t data);
// Ends the poll with that data, whose completion comes too.
void CUring_unpoll(CUring *ring, uint64_t target, uint64_t data);

enum { CURING_FOREVER = -1, CURING_NO = 0 };
// Submits what was prepared, and waits for a completion: not at all, for ever, or so many milliseconds. Without a wait
// it makes no system call unless there is something to submit or to fetch. Returns 0, or an errno value: ETIME when the
// time is over, EINTR, and EBUSY or EAGAIN when something must complete before more can be submitted.
int CUring_enter(CUring *ring, int milliseconds);
// Submits what was prepared, and lets the kernel post what is done.
int CUring_flush(CUring *ring);
// Takes completions, at most `count`.
unsigned CUring_reap(CUring *ring, struct CUring_completion *completions, unsigned count);

#endif
