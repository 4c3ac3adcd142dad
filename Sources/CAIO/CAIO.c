#define _GNU_SOURCE
#include "CAIO.h"

#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>

enum { EVENTS_PER_REAP = 64 };

struct CAIO {
  io_context_t context;
  struct iocb *requests;  // the kernel copies them at io_submit: they are free for the next batch
  struct iocb *polls;     // each has one of its own, because it is cancelled by the address
  struct iocb **batch;
  unsigned request_count, batch_count;
};

int CAIO_create(unsigned requests, unsigned polls, CAIO **result) {
  CAIO *aio = calloc(1, sizeof *aio);
  if (!aio) return ENOMEM;
  aio->requests = calloc(requests, sizeof *aio->requests);
  aio->polls = calloc(polls, sizeof *aio->polls);
  aio->batch = calloc(requests + polls, sizeof *aio->batch);
  int failure = ENOMEM;
  if (aio->requests && aio->polls && aio->batch) failure = -io_setup((int)(requests + polls), &aio->context);
  if (failure) {
    aio->context = NULL;
    CAIO_destroy(aio);
    return failure;
  }
  *result = aio;
  return 0;
}

void CAIO_destroy(CAIO *aio) {
  if (aio->context) io_destroy(aio->context);
  free(aio->requests);
  free(aio->polls);
  free(aio->batch);
  free(aio);
}

static void add(CAIO *aio, struct iocb *request, uint64_t data) {
  request->data = (void *)(uintptr_t)data;
  aio->batch[aio->batch_count++] = request;
}

void CAIO_read(CAIO *aio, int descriptor, const void *parts, unsigned count, uint64_t offset, uint64_t data) {
  struct iocb *request = &aio->requests[aio->request_count++];
  const struct iovec *list = parts;
  if (count == 1)
    io_prep_pread(request, descriptor, list->iov_base, list->iov_len, (long long)offset);
  else
    io_prep_preadv(request, descriptor, list, (int)count, (long long)offset);
  add(aio, request, data);
}

void CAIO_write(CAIO *aio, int descriptor, const void *parts, unsigned count, uint64_t offset, uint64_t data) {
  struct iocb *request = &aio->requests[aio->request_count++];
  const struct iovec *list = parts;
  if (count == 1)
    io_prep_pwrite(request, descriptor, list->iov_base, list->iov_len, (long long)offset);
  else
    io_prep_pwritev(request, descriptor, list, (int)count, (long long)offset);
  add(aio, request, data);
}

void CAIO_synchronize(CAIO *aio, int descriptor, uint64_t data) {
  struct iocb *request = &aio->requests[aio->request_count++];
  *request = (struct iocb){.aio_fildes = descriptor, .aio_lio_opcode = IO_CMD_FDSYNC};
  add(aio, request, data);
}

void CAIO_poll(CAIO *aio, unsigned index, int descriptor, uint64_t data) {
  io_prep_poll(&aio->polls[index], descriptor, POLLIN);
  add(aio, &aio->polls[index], data);
}

void CAIO_unpoll(CAIO *aio, unsigned index) {
  struct io_event ignored;
  io_cancel(aio->context, &aio->polls[index], &ignored);
}

unsigned CAIO_batch_count(const CAIO *aio) { return aio->batch_count; }

uint64_t CAIO_batch_data(const CAIO *aio, unsigned index) { return (uintptr_t)aio->batch[index]->data; }

int CAIO_submit(CAIO *aio, unsigned first) {
  return io_submit(aio->context, aio->batch_count - first, aio->batch + first);
}

void CAIO_clear(CAIO *aio) { aio->request_count = aio->batch_count = 0; }

int CAIO_reap(CAIO *aio, int milliseconds, struct CAIO_completion *completions, unsigned count) {
  struct io_event events[EVENTS_PER_REAP];
  struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000l};
  if (count > EVENTS_PER_REAP) count = EVENTS_PER_REAP;
  int taken = io_getevents(aio->context, milliseconds == 0 ? 0 : 1, count, events, milliseconds < 0 ? NULL : &time);
  for (int i = 0; i < taken; i++) {
    completions[i].data = (uintptr_t)events[i].data;
    completions[i].result = (int64_t)events[i].res;
  }
  return taken;
}
