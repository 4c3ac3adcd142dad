#define _GNU_SOURCE
#include "CUring.h"

#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct CUring {
  struct io_uring ring;
  bool is_enabled;
  unsigned completions;
};

// Without NODROP completions could get lost, without SUBMIT_STABLE the lists of parts would have to live longer, and
// without EXT_ARG (Linux 5.11) a wait with a time limit is a request of its own.
enum { FEATURES = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG };

int CUring_create(unsigned entries, CUring **result) {
  // Best first. One thread submits and reaps, so that the kernel need not interrupt it to post a completion: it posts
  // when it is entered, and TASKRUN_FLAG tells when that is worth while (6.1; the second 5.19; the last any).
  static const unsigned choices[] = {
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
      0,
  };
  CUring *ring = calloc(1, sizeof *ring);
  if (!ring) return ENOMEM;
  int failure = EINVAL;
  for (size_t i = 0; i < sizeof choices / sizeof *choices && failure == EINVAL; i++) {
    struct io_uring_params parameters = {.flags = choices[i] | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED};
    failure = -io_uring_queue_init_params(entries, &ring->ring, &parameters);
    if (failure == 0) {
      ring->completions = parameters.cq_entries;
      if ((parameters.features & FEATURES) != FEATURES) {
        io_uring_queue_exit(&ring->ring);
        failure = ENOSYS;
      }
    }
  }
  if (failure) {
    free(ring);
    return failure;
  }
  io_uring_ring_dontfork(&ring->ring);
  *result = ring;
  return 0;
}

void CUring_destroy(CUring *ring) {
  io_uring_queue_exit(&ring->ring);
  free(ring);
}

int CUring_enable(CUring *ring) {
  if (ring->is_enabled) return 0;
  // liburing 2.3 declares io_uring_enable_rings, and does not export it.
  if (syscall(SYS_io_uring_register, ring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0) return errno;
  ring->is_enabled = true;
  return 0;
}

unsigned CUring_completion_capacity(const CUring *ring) { return ring->completions; }

unsigned CUring_space(const CUring *ring) { return io_uring_sq_space_left(&ring->ring); }

void CUring_read(CUring *ring, int descriptor, const void *list, unsigned count, uint64_t offset, bool by_worker,
                 uint64_t data) {
  const struct iovec *parts = list;
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (count == 1)
    io_uring_prep_read(entry, descriptor, parts->iov_base, (unsigned)parts->iov_len, offset);
  else
    io_uring_prep_readv(entry, descriptor, parts, count, offset);
  if (by_worker) io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
  io_uring_sqe_set_data64(entry, data);
}

void CUring_write(CUring *ring, int descriptor, const void *list, unsigned count, uint64_t offset, uint64_t data) {
  const struct iovec *parts = list;
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (count == 1)
    io_uring_prep_write(entry, descriptor, parts->iov_base, (unsigned)parts->iov_len, offset);
  else
    io_uring_prep_writev(entry, descriptor, parts, count, offset);
  io_uring_sqe_set_data64(entry, data);
}

void CUring_synchronize(CUring *ring, int descriptor, uint64_t data) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  io_uring_prep_fsync(entry, descriptor, IORING_FSYNC_DATASYNC);
  io_uring_sqe_set_data64(entry, data);
}

void CUring_zero(CUring *ring, int descriptor, uint64_t offset, uint64_t count, bool unmap, uint64_t data) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  int mode = (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
  io_uring_prep_fallocate(entry, descriptor, mode, (off_t)offset, (off_t)count);
  io_uring_sqe_set_data64(entry, data);
}

void CUring_poll(CUring *ring, int descriptor, uint64_t data) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  io_uring_prep_poll_add(entry, descriptor, POLLIN);
  io_uring_sqe_set_data64(entry, data);
}

void CUring_unpoll(CUring *ring, uint64_t target, uint64_t data) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  io_uring_prep_poll_remove(entry, target);
  io_uring_sqe_set_data64(entry, data);
}

static bool has_something_to_fetch(const CUring *ring) {
  return IO_URING_READ_ONCE(*ring->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

int CUring_enter(CUring *ring, int milliseconds) {
  int result;
  bool is_needed = io_uring_sq_ready(&ring->ring) > 0 || has_something_to_fetch(ring);
  if (!is_needed && io_uring_cq_ready(&ring->ring) > 0) return 0;
  if (milliseconds == CURING_NO) {
    if (!is_needed) return 0;
    result = io_uring_submit_and_get_events(&ring->ring);
  } else if (milliseconds < 0) {
    result = io_uring_submit_and_wait(&ring->ring, 1);
  } else {
    struct __kernel_timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000ll};
    struct io_uring_cqe *first;
    result = io_uring_submit_and_wait_timeout(&ring->ring, &first, 1, &time, NULL);
  }
  return result < 0 ? -result : 0;
}

int CUring_flush(CUring *ring) {
  int result = io_uring_submit_and_get_events(&ring->ring);
  return result < 0 ? -result : 0;
}

unsigned CUring_reap(CUring *ring, struct CUring_completion *completions, unsigned count) {
  struct io_uring_cqe *entry;
  unsigned head, taken = 0;
  io_uring_for_each_cqe(&ring->ring, head, entry) {
    if (taken == count) break;
    completions[taken].data = entry->user_data;
    completions[taken].result = entry->res;
    taken++;
  }
  io_uring_cq_advance(&ring->ring, taken);
  return taken;
}
