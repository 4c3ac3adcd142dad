// The kernel's older asynchronous I/O, with the few requests that disks need. Opaque: libaio.h stays inside, because
// its structures are unions with padding by macros, and because Swift would take it for the home of timespec.
#ifndef CAIO_H
#define CAIO_H

#include <stdint.h>

typedef struct CAIO CAIO;

struct CAIO_completion {
  uint64_t data;
  int64_t result;
};

// Room for `requests` at a time, and for as many polls as `polls`. Returns 0, or an errno value: EAGAIN beyond the
// system's limit (fs.aio-max-nr).
int CAIO_create(unsigned requests, unsigned polls, CAIO **aio);
// Waits for what is under way.
void CAIO_destroy(CAIO *aio);

// Each adds one request to the batch. `data` comes back with its completion. `parts` is a list of struct iovec, which
// this header leaves to others to declare.
void CAIO_read(CAIO *aio, int descriptor, const void *parts, unsigned count, uint64_t offset, uint64_t data);
void CAIO_write(CAIO *aio, int descriptor, const void *parts, unsigned count, uint64_t offset, uint64_t data);
void CAIO_synchronize(CAIO *aio, int descriptor, uint64_t data);
// Reports once that a descriptor is readable, at once if it is. `index` is less than the number of polls, and of no
// other poll that is under way.
void CAIO_poll(CAIO *aio, unsigned index, int descriptor, uint64_t data);
// Ends a poll, whose completion comes nevertheless.
void CAIO_unpoll(CAIO *aio, unsigned index);

unsigned CAIO_batch_count(const CAIO *aio);
uint64_t CAIO_batch_data(const CAIO *aio, unsigned index);
// Submits the batch from its `first` request on: how many the kernel took, or the negative errno value of the first.
int CAIO_submit(CAIO *aio, unsigned first);
void CAIO_clear(CAIO *aio);

// Waits for a completion, not at all (0), for ever (-1) or so many milliseconds, and takes at most `count`. Returns how
// many, or a negative errno value.
int CAIO_reap(CAIO *aio, int milliseconds, struct CAIO_completion *completions, unsigned count);

#endif
