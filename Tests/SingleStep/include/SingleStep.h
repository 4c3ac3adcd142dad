// Stops after every instruction: what a process leaves behind that is killed between any two stores.
#ifndef SINGLE_STEP_H
#define SINGLE_STEP_H

#include <stddef.h>
#include <stdint.h>

struct SingleStep_range {
  const void *base;
  size_t count;
};

// Whether this machine can do it (x86-64).
int SingleStep_is_possible(void);

// Calls body(context) one instruction at a time on this thread, and copies the ranges, one after the other, into
// `copies` whenever one of them has changed. Returns how often that happened; at most `copies_max` are kept.
size_t SingleStep_run(void (*body)(void *), void *context, const struct SingleStep_range *ranges, size_t range_count,
                      uint8_t *copies, size_t copies_max);

#endif
